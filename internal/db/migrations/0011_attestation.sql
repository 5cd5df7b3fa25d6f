-- +goose Up

-- What came of the attestation of the device's key, JSON; empty: none was asked for.
ALTER TABLE devices ADD COLUMN attestation TEXT NOT NULL DEFAULT '';
