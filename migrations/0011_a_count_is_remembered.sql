-- To end all of a user's tokens is answered with how many there were. Under a key that is answered again, and nothing ends
-- that was issued since.
ALTER TABLE idempotency_keys ADD COLUMN revoked bigint;
