-- Times are Unix milliseconds (BIGINT). Lists and free objects are JSON in TEXT.
-- Every statement here and in the package runs on SQLite and on PostgreSQL.
-- +goose Up
CREATE TABLE merchants (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE apps (
    id          TEXT PRIMARY KEY,
    merchant_id TEXT NOT NULL REFERENCES merchants (id),
    name        TEXT NOT NULL,
    policy      TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE users (
    id           TEXT PRIMARY KEY,
    merchant_id  TEXT NOT NULL REFERENCES merchants (id),
    external_ref TEXT NOT NULL,
    state        TEXT NOT NULL,
    attributes   TEXT NOT NULL,
    fail_day     BIGINT NOT NULL DEFAULT 0,
    fail_count   BIGINT NOT NULL DEFAULT 0,
    valid_after  BIGINT NOT NULL DEFAULT 0,
    created_at   BIGINT NOT NULL,
    UNIQUE (merchant_id, external_ref)
);

CREATE TABLE devices (
    id            TEXT PRIMARY KEY,
    merchant_id   TEXT NOT NULL REFERENCES merchants (id),
    user_id       TEXT NOT NULL REFERENCES users (id),
    app_id        TEXT NOT NULL REFERENCES apps (id),
    operation_id  TEXT NOT NULL,
    state         TEXT NOT NULL,
    name          TEXT NOT NULL,
    platform      TEXT NOT NULL,
    dsk           TEXT NOT NULL,
    dsk_thumb     TEXT NOT NULL UNIQUE,
    commitment    BYTEA NOT NULL,
    kk            BYTEA,
    pos           TEXT NOT NULL,
    enrol         TEXT NOT NULL,
    epoch         BIGINT NOT NULL DEFAULT 1,
    failures      BIGINT NOT NULL DEFAULT 0,
    max_failures  BIGINT NOT NULL,
    blocked_until BIGINT NOT NULL DEFAULT 0,
    handle_salt   BYTEA NOT NULL,
    head          BYTEA NOT NULL,
    head_seq      BIGINT NOT NULL DEFAULT 0,
    head_at       BIGINT NOT NULL DEFAULT 0,
    spent_head    BYTEA,
    abandoned_jti TEXT NOT NULL DEFAULT '',
    last_jti      TEXT NOT NULL DEFAULT '',
    last_jwe      BYTEA,
    last_jws      BYTEA,
    last_result   BYTEA,
    last_reply    BYTEA,
    valid_after   BIGINT NOT NULL DEFAULT 0,
    created_at    BIGINT NOT NULL,
    activated_at  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX devices_user ON devices (user_id);
CREATE INDEX devices_operation ON devices (operation_id);
CREATE INDEX devices_pending ON devices (created_at) WHERE state = 'PENDING';
CREATE INDEX devices_last_jwe ON devices (last_jwe);

CREATE TABLE clients (
    id            TEXT PRIMARY KEY,
    merchant_id   TEXT NOT NULL REFERENCES merchants (id),
    app_id        TEXT NOT NULL REFERENCES apps (id),
    name          TEXT NOT NULL,
    settings      TEXT NOT NULL,
    secrets       TEXT NOT NULL,
    disabled_at   BIGINT NOT NULL DEFAULT 0,
    version       BIGINT NOT NULL DEFAULT 1,
    created_at    BIGINT NOT NULL
);

-- The INSERT is the moment an operation is decided.
CREATE TABLE decisions (
    operation_id TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,
    state        TEXT NOT NULL,
    merchant_id  TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    device_id    TEXT NOT NULL,
    client_id    TEXT NOT NULL,
    view_hash    TEXT NOT NULL,
    outcome      TEXT NOT NULL,
    view         BYTEA,
    answer       TEXT NOT NULL,
    at           BIGINT NOT NULL
);

-- Wrong match codes, counted per operation over all its devices.
CREATE TABLE operation_attempts (
    operation_id TEXT PRIMARY KEY,
    match_failed BIGINT NOT NULL,
    exp          BIGINT NOT NULL
);
CREATE INDEX operation_attempts_exp ON operation_attempts (exp);

-- Every single use, in the transaction that issues.
CREATE TABLE redeemed (
    kind     TEXT NOT NULL,
    hash     TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    exp      BIGINT NOT NULL,
    PRIMARY KEY (kind, hash)
);
CREATE INDEX redeemed_exp ON redeemed (exp);

CREATE TABLE revoked (
    kind TEXT NOT NULL,
    hash TEXT NOT NULL,
    exp  BIGINT NOT NULL,
    PRIMARY KEY (kind, hash)
);
CREATE INDEX revoked_exp ON revoked (exp);

CREATE TABLE grants (
    id           TEXT PRIMARY KEY,
    merchant_id  TEXT NOT NULL,
    client_id    TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    device_id    TEXT NOT NULL,
    operation_id TEXT NOT NULL,
    sid          TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    revoked_at   BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE refresh_families (
    id         TEXT PRIMARY KEY,
    grant_id   TEXT NOT NULL REFERENCES grants (id),
    client_id  TEXT NOT NULL,
    generation BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    record     BYTEA NOT NULL
);

CREATE TABLE outbox (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    payload    TEXT NOT NULL,
    due_at     BIGINT NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);
CREATE INDEX outbox_due ON outbox (due_at);

CREATE TABLE audit_records (
    writer TEXT NOT NULL,
    seq    BIGINT NOT NULL,
    at     BIGINT NOT NULL,
    body   TEXT NOT NULL,
    hash   BYTEA NOT NULL,
    PRIMARY KEY (writer, seq)
);

CREATE TABLE signing_keys (
    kid        TEXT PRIMARY KEY,
    purpose    TEXT NOT NULL,
    public     TEXT NOT NULL,
    sealed     BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    active_at  BIGINT NOT NULL,
    retire_at  BIGINT NOT NULL DEFAULT 0
);

-- +goose Down
DROP TABLE signing_keys;
DROP TABLE audit_records;
DROP TABLE outbox;
DROP TABLE refresh_families;
DROP TABLE grants;
DROP TABLE revoked;
DROP TABLE redeemed;
DROP TABLE operation_attempts;
DROP TABLE decisions;
DROP TABLE clients;
DROP TABLE devices;
DROP TABLE users;
DROP TABLE apps;
DROP TABLE merchants;
