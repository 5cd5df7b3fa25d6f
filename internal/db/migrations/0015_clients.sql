-- +goose Up

-- What a client was given before it is void: raised when a client that was disabled
-- is enabled again.
ALTER TABLE clients ADD COLUMN valid_after BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE clients DROP COLUMN valid_after;
