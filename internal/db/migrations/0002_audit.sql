-- The one chain of all writers' records; the sealer appends to it after the acts
-- have committed. hash is over prev, seq, writer, record_seq and the record's hash.
-- +goose Up
CREATE TABLE audit_chain (
    seq        BIGINT PRIMARY KEY,
    writer     TEXT NOT NULL,
    record_seq BIGINT NOT NULL,
    prev       BYTEA NOT NULL,
    hash       BYTEA NOT NULL
);

-- Up to which of its records each writer is in the chain.
CREATE TABLE audit_sealed (
    writer  TEXT PRIMARY KEY,
    through BIGINT NOT NULL
);

-- Work that one node at a time does.
CREATE TABLE leases (
    name   TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until  BIGINT NOT NULL
);

-- +goose Down
DROP TABLE leases;
DROP TABLE audit_sealed;
DROP TABLE audit_chain;
