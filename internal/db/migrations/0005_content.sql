-- +goose Up

-- Typed data of an operation, byte for byte as it was shown and signed.
ALTER TABLE decisions ADD COLUMN data BYTEA;

-- Which phone claimed an operation that is not addressed by name: the first.
CREATE TABLE operation_claims (
    operation_id TEXT PRIMARY KEY,
    device_id    TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    exp          BIGINT NOT NULL
);

-- +goose Down
DROP TABLE operation_claims;
ALTER TABLE decisions DROP COLUMN data;
