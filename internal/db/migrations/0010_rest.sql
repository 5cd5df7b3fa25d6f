-- +goose Up

-- Users and Apps are changed by compare-and-swap of their version.
ALTER TABLE users ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
-- Where the proofing of the person can be looked up; JSON, '' while there is none.
ALTER TABLE users ADD COLUMN proofing TEXT NOT NULL DEFAULT '';
-- A deactivated user gives external_ref back, for somebody new, and is shown by this.
ALTER TABLE users ADD COLUMN former_ref TEXT NOT NULL DEFAULT '';
ALTER TABLE apps ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

-- Pages of the lists.
CREATE INDEX users_list ON users (merchant_id, created_at, id);
CREATE INDEX devices_list ON devices (merchant_id, created_at, id);
CREATE INDEX decisions_user ON decisions (user_id, at, operation_id);

-- What happened, for a merchant's webhooks and for those who poll.
CREATE TABLE events (
    id           TEXT PRIMARY KEY,
    merchant_id  TEXT NOT NULL,
    type         TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    device_id    TEXT NOT NULL,
    operation_id TEXT NOT NULL,
    data         TEXT NOT NULL,
    at           BIGINT NOT NULL
);
CREATE INDEX events_list ON events (merchant_id, at, id);

-- Requests under an Idempotency-Key. answer is sealed; NULL while the first of them
-- is under way, until lease_until at most.
CREATE TABLE idempotency (
    client_id   TEXT NOT NULL,
    name        TEXT NOT NULL,
    request     TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    answer      BYTEA,
    exp         BIGINT NOT NULL,
    PRIMARY KEY (client_id, name)
);
CREATE INDEX idempotency_exp ON idempotency (exp);

-- +goose Down
DROP TABLE idempotency;
DROP TABLE events;
DROP INDEX decisions_user;
DROP INDEX devices_list;
DROP INDEX users_list;
ALTER TABLE apps DROP COLUMN version;
ALTER TABLE users DROP COLUMN former_ref;
ALTER TABLE users DROP COLUMN proofing;
ALTER TABLE users DROP COLUMN version;
