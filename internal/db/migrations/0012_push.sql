-- +goose Up

-- Where a device is woken. The address and its keys are sealed; its hash, SHA-256,
-- is what makes it one device's.
CREATE TABLE push_addresses (
    device_id    TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL,
    address_hash TEXT NOT NULL UNIQUE,
    sealed       BYTEA NOT NULL,
    created_at   BIGINT NOT NULL
);
CREATE INDEX push_addresses_user ON push_addresses (user_id);

-- +goose Down
DROP TABLE push_addresses;
