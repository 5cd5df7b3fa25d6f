-- +goose Up

-- Where a merchant wants to be told what happened. events is '*', or types each
-- between spaces; secrets are sealed. failures are attempts in a row that failed;
-- from some number on the endpoint rests until paused_until.
CREATE TABLE webhooks (
    id           TEXT PRIMARY KEY,
    merchant_id  TEXT NOT NULL REFERENCES merchants (id),
    url          TEXT NOT NULL,
    events       TEXT NOT NULL,
    secrets      BYTEA NOT NULL,
    state        TEXT NOT NULL,
    version      BIGINT NOT NULL DEFAULT 1,
    failures     BIGINT NOT NULL DEFAULT 0,
    paused_until BIGINT NOT NULL DEFAULT 0,
    created_at   BIGINT NOT NULL
);
CREATE INDEX webhooks_merchant ON webhooks (merchant_id);

-- One event for one endpoint, written in the transaction of what happened; also
-- the log of what became of it. body is sent byte for byte at every attempt.
CREATE TABLE webhook_deliveries (
    webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id   TEXT NOT NULL,
    type       TEXT NOT NULL,
    body       TEXT NOT NULL,
    state      TEXT NOT NULL,
    due_at     BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0,
    tried_at   BIGINT NOT NULL DEFAULT 0,
    status     BIGINT NOT NULL DEFAULT 0,
    error      TEXT NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, event_id)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE state = 'PENDING';
CREATE INDEX webhook_deliveries_log ON webhook_deliveries (webhook_id, created_at, event_id);
CREATE INDEX webhook_deliveries_old ON webhook_deliveries (created_at);

-- +goose Down
DROP TABLE webhook_deliveries;
DROP TABLE webhooks;
