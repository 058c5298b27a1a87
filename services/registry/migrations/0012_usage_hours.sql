-- Use by the hour, for a day: what "in the last 24 hours" is said by. Days are in registry.usage.
CREATE TABLE registry.usage_hours (
    application_id uuid        NOT NULL,
    hour           timestamptz NOT NULL,
    count          bigint      NOT NULL CHECK (count > 0),
    PRIMARY KEY (application_id, hour)
);
CREATE INDEX usage_hours_by_age ON registry.usage_hours (hour);
