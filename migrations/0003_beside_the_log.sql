-- What cannot be derived from the log, because it may be erased, is secret, or does not matter enough.

-- Names, notes and addresses. An event holds the id and SHA-256(salt ‖ value) only, so that a person's values can be
-- erased and the log still proves what it proved. `folded` is what searches compare: composed, in lower case.
CREATE TABLE personal_values (
    id      uuid  PRIMARY KEY,
    subject uuid  NOT NULL,
    value   text  NOT NULL,
    folded  text  NOT NULL,
    salt    bytea NOT NULL CHECK (length(salt) = 16)
);

-- The address by which a user signs in, composed and in lower case: one mailbox, one person.
CREATE TABLE sign_in_names (
    key     text PRIMARY KEY,
    user_id uuid NOT NULL UNIQUE
);

CREATE TABLE password_hashes (
    user_id uuid PRIMARY KEY,
    hash    text NOT NULL
);

CREATE TABLE sessions (
    id         uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL,
    digest     bytea       NOT NULL UNIQUE CHECK (length(digest) = 32),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id);

-- What a request under an Idempotency-Key led to, kept for a day. `key` is SHA-256 over actor, method, path and
-- key; it says nothing by itself, and the answer's plaintext is not in it.
CREATE TABLE idempotency_keys (
    key        bytea       PRIMARY KEY CHECK (length(key) = 32),
    body       bytea       NOT NULL CHECK (length(body) = 32),
    token_id   uuid,
    gateway_id uuid,
    created_at timestamptz NOT NULL
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- When a token was last used, by whom, how often. Written in batches every few seconds, lossy by design: a crash
-- loses the last seconds. Never a column of `tokens`, where a late write could undo a revocation.
CREATE TABLE token_usage (
    token_id           uuid        PRIMARY KEY,
    last_used_at       timestamptz,
    -- The gateway; null for a call to this service itself.
    last_used_by       uuid,
    uses               bigint      NOT NULL DEFAULT 0,
    -- Use of an ended earlier plaintext: someone still has the old key.
    ended_last_used_at timestamptz,
    ended_last_used_by uuid,
    ended_uses         bigint      NOT NULL DEFAULT 0
);

-- What the command line asks of a running service, because only the holder of the serving lock may narrow.
CREATE TABLE operator_requests (
    id       uuid PRIMARY KEY,
    request  text NOT NULL,
    outcome  text
);
