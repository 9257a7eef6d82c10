-- What is over is found by an index, as it is for tokens and idempotency keys.
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
-- Its rows are updated again and again, in place where their page has room.
ALTER TABLE token_usage SET (fillfactor = 70);
