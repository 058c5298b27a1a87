-- Requests in an application's name that the token service refused, by day and reason, for its owner.
CREATE TABLE registry.failures (
    application_id uuid        NOT NULL,
    reason         text        NOT NULL,
    day            date        NOT NULL,
    count          bigint      NOT NULL CHECK (count > 0),
    last_at        timestamptz NOT NULL,
    PRIMARY KEY (application_id, day, reason)
);
CREATE INDEX failures_by_day ON registry.failures (day);
