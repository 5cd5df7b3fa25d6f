-- +goose Up

-- Most grants have no session, so most of them need no entry here. Whoever looks
-- one up says that the session is not '' as well: else the index is not used.
DROP INDEX grants_sid;
CREATE INDEX grants_sid ON grants (sid) WHERE sid <> '';

-- +goose Down
DROP INDEX grants_sid;
CREATE INDEX grants_sid ON grants (sid);
