-- +goose Up

-- App Attest attests the build of an app and not the device's key: what was recorded
-- as attested hardware is lowered to what is proven.
UPDATE devices SET pos = 'hwk', attestation = replace(attestation, '"level":"hardware"', '"level":"build"')
    WHERE pos = 'hwk-att' AND attestation LIKE '%"format":"apple-appattest"%';
UPDATE devices SET inh = 'bio-app' WHERE inh = 'bio-att' AND platform = 'ios';

-- Which Apps have phones with an attested key.
CREATE INDEX devices_hardware ON devices (app_id, state) WHERE pos = 'hwk-att';

-- +goose Down
DROP INDEX devices_hardware;
