-- One row for each connection that writes to PostgreSQL: the number of the last
-- transaction that it committed, read back when the reply to a COMMIT was lost.
-- Empty on SQLite.
-- +goose Up
CREATE TABLE writers (
    id      TEXT PRIMARY KEY,
    attempt BIGINT NOT NULL,
    at      BIGINT NOT NULL
);

-- +goose Down
DROP TABLE writers;
