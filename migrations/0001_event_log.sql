-- The event log. Everything else that can be derived is derived from it.
--
-- `record` is the whole event as one text, to the byte; `chain` is SHA-256(previous chain ‖ record). The other
-- columns are copies for queries: `counterfoil verify` compares them with the record.
CREATE TABLE events (
    seq             bigint      PRIMARY KEY CHECK (seq > 0),
    record          text        NOT NULL,
    chain           bytea       NOT NULL CHECK (length(chain) = 32),
    type            text        NOT NULL,
    -- The tenant; null for what belongs to a user.
    organization_id uuid,
    -- What the event is about, and the user whose it is.
    subject_id      uuid        NOT NULL,
    user_id         uuid,
    decided_at      timestamptz NOT NULL
);
-- One thing's history, one user's, one organization's: each is read in order of seq.
CREATE INDEX events_of_subject ON events (subject_id, seq);
CREATE INDEX events_of_user ON events (user_id, seq) WHERE user_id IS NOT NULL;
CREATE INDEX events_of_organization ON events (organization_id, seq) WHERE organization_id IS NOT NULL;

-- History cannot be edited quietly: besides the grants, which keep the service's role to INSERT and SELECT, no
-- role at all gets past this trigger without dropping it.
CREATE FUNCTION refuse_to_edit_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_edit_events();
