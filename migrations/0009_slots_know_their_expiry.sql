-- What stands of a user is read from the claims alone, at every issue: up to fifty rows for each of 128 users in a batch,
-- and a join to the tokens would double that. A changed token's claims are deleted and inserted anew, so the copy follows.
ALTER TABLE claimed_slots ADD COLUMN expires_at timestamptz;
UPDATE claimed_slots c SET expires_at = t.expires_at FROM tokens t WHERE t.id = c.token_id AND t.expires_at IS NOT NULL;
