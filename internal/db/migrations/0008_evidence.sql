-- +goose Up

-- The proof of a signature, byte for byte as it was made with the decision; stamp
-- is an RFC 3161 token over it, where there is an authority.
CREATE TABLE evidence (
    operation_id TEXT PRIMARY KEY,
    merchant_id  TEXT NOT NULL,
    token        TEXT NOT NULL,
    stamp        BYTEA,
    at           BIGINT NOT NULL
);

-- Which audit record says how a device came to be its user's.
CREATE TABLE enrolments (
    device_id TEXT PRIMARY KEY,
    writer    TEXT NOT NULL,
    seq       BIGINT NOT NULL
);

-- +goose Down
DROP TABLE enrolments;
DROP TABLE evidence;
