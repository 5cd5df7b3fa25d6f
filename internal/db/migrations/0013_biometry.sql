-- +goose Up

-- A device's biometric key, a public JWK, and what it is worth: bio, or bio-att where
-- its maker speaks for it. Both empty: it has none.
ALTER TABLE devices ADD COLUMN dbk TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN inh TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX devices_dbk ON devices (dbk) WHERE dbk <> '';

-- +goose Down
DROP INDEX devices_dbk;
ALTER TABLE devices DROP COLUMN inh;
ALTER TABLE devices DROP COLUMN dbk;
