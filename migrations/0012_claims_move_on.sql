-- While any transaction is open in the database, be it somebody's forgotten one or a backup, nothing that was deleted since
-- it began can be cleared away, and whoever looks up a key goes past all that was ever stored under it since. A user who
-- issues and ends tokens all day would slow every write down. So a user's claims have keys of an era, and once in a few
-- hundred changes they go on to a new one, whose keys nothing lies under yet.
ALTER TABLE claimed_slots ADD COLUMN era bigint NOT NULL DEFAULT 0;
ALTER TABLE claimed_slots DROP CONSTRAINT claimed_slots_pkey, ADD PRIMARY KEY (user_id, era, slot);
-- The present era of whoever has left the first. It does not follow from events.
CREATE TABLE slot_eras (
    user_id uuid   PRIMARY KEY,
    era     bigint NOT NULL
);

-- What was recorded as expired stays in the way in the same manner, so the sweeper goes on from where it was: of tokens that
-- expire at one instant, which may be many, too.
DROP INDEX tokens_to_expire;
CREATE INDEX tokens_to_expire ON tokens (expires_at, id) WHERE ended_seq IS NULL AND expires_at IS NOT NULL;
