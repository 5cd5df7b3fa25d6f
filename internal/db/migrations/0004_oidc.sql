-- +goose Up

-- Moments that must be remembered although what they are about may be lost.
CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    at   BIGINT NOT NULL
);

-- What a user allowed a client; scopes are JSON.
CREATE TABLE consents (
    user_id     TEXT NOT NULL REFERENCES users (id),
    client_id   TEXT NOT NULL REFERENCES clients (id),
    merchant_id TEXT NOT NULL,
    scopes      TEXT NOT NULL,
    granted_at  BIGINT NOT NULL,
    PRIMARY KEY (user_id, client_id)
);

-- A logout finds the grants of its session; those for offline access outlive it.
ALTER TABLE grants ADD COLUMN offline BIGINT NOT NULL DEFAULT 0;
CREATE INDEX grants_sid ON grants (sid);
CREATE INDEX grants_user_client ON grants (user_id, client_id);

-- +goose Down
DROP INDEX grants_user_client;
DROP INDEX grants_sid;
ALTER TABLE grants DROP COLUMN offline;
DROP TABLE consents;
DROP TABLE marks;
