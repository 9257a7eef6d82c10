-- The entities that events fold into, as the writer stored them in the transaction that appended the events. Each
-- row's `seq` is the last event that changed it. `counterfoil verify` folds the log from nothing and compares.
--
-- There are no foreign keys between organizations, and no constraint that spans them but the digest's: a tenant
-- may one day live in another database.

CREATE TABLE organizations (
    id              uuid   PRIMARY KEY,
    number          bigint NOT NULL UNIQUE,
    name_id         uuid   NOT NULL,
    name_commitment bytea  NOT NULL,
    revoked_all     bigint NOT NULL,
    seq             bigint NOT NULL
);

CREATE TABLE environments (
    id              uuid   PRIMARY KEY,
    number          bigint NOT NULL UNIQUE,
    organization_id uuid   NOT NULL,
    name_id         uuid   NOT NULL,
    name_commitment bytea  NOT NULL,
    seq             bigint NOT NULL
);
CREATE INDEX environments_of_organization ON environments (organization_id);

CREATE TABLE users (
    id               uuid   PRIMARY KEY,
    email_id         uuid   NOT NULL,
    email_commitment bytea  NOT NULL,
    -- JSON: organization id -> {role, removed}. Read and written as a whole.
    memberships      text   NOT NULL,
    password_set     bigint NOT NULL,
    seq              bigint NOT NULL
);

CREATE TABLE gateways (
    id              uuid   PRIMARY KEY,
    organization_id uuid   NOT NULL,
    name_id         uuid   NOT NULL,
    name_commitment bytea  NOT NULL,
    -- Kinds of token with a blank between them.
    kinds           text   NOT NULL,
    environment_id  uuid,
    removed         bigint,
    seq             bigint NOT NULL
);
CREATE INDEX gateways_of_organization ON gateways (organization_id, id);

CREATE TABLE tokens (
    id              uuid        PRIMARY KEY,
    kind            text        NOT NULL,
    -- The owner: exactly one of the two.
    user_id         uuid,
    gateway_id      uuid,
    home            uuid        NOT NULL,
    digest          bytea       NOT NULL CHECK (length(digest) = 32),
    hint            text        NOT NULL,
    generation      integer     NOT NULL,
    -- Scope-tokens with a blank between them, as RFC 6749 writes them.
    scopes          text        NOT NULL,
    expires_at      timestamptz,
    note_id         uuid,
    note_commitment bytea,
    issued_by       uuid,
    since           bigint      NOT NULL,
    issued_at       timestamptz NOT NULL,
    issued_seq      bigint      NOT NULL,
    disabled        boolean     NOT NULL,
    slot            smallint,
    -- JSON: the plaintext before the present one.
    previous        text,
    ended_seq       bigint,
    ended_at        timestamptz,
    ended_how       text,
    seq             bigint      NOT NULL,
    CHECK (num_nonnulls(user_id, gateway_id) = 1)
);
CREATE INDEX tokens_of_user ON tokens (user_id, issued_seq) WHERE user_id IS NOT NULL;
CREATE INDEX tokens_of_gateway ON tokens (gateway_id, issued_seq) WHERE gateway_id IS NOT NULL;
-- The sweeper's: what stands and will expire.
CREATE INDEX tokens_to_expire ON tokens (expires_at) WHERE ended_seq IS NULL AND expires_at IS NOT NULL;

-- Claims: what a standing token holds alone. Decided in the domain and backed here, so that a bug becomes an error
-- and not a 51st token. They are deleted and inserted anew for every changed token, because unique indexes on the
-- tokens themselves fail on ordinary batches in which two tokens trade places.
CREATE TABLE claimed_slots (
    user_id  uuid     NOT NULL,
    slot     smallint NOT NULL CHECK (slot BETWEEN 0 AND 49),
    token_id uuid     NOT NULL,
    PRIMARY KEY (user_id, slot)
);
CREATE TABLE claimed_digests (
    digest   bytea   NOT NULL,
    -- Counts an organization's kill switches, for digests that are unique in an organization only; 0 for ours.
    era      integer NOT NULL DEFAULT 0,
    token_id uuid    NOT NULL,
    PRIMARY KEY (digest, era)
);
