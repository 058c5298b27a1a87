-- Which secrets are used, as the token service reports it. Outside the log: it is no fact about an
-- application, may lack what a token service that died had noted, and is kept for a while only.

CREATE TABLE registry.usage (
    application_id uuid        NOT NULL,
    secret_id      uuid        NOT NULL,
    day            date        NOT NULL,
    count          bigint      NOT NULL CHECK (count > 0),
    last_used_at   timestamptz NOT NULL,
    PRIMARY KEY (application_id, secret_id, day)
);
CREATE INDEX usage_by_day ON registry.usage (day);

-- The last report of each process that reports: one that comes again is known.
CREATE TABLE registry.usage_reporters (
    reporter uuid        PRIMARY KEY,
    sequence bigint      NOT NULL,
    seen_at  timestamptz NOT NULL
);
CREATE INDEX usage_reporters_by_age ON registry.usage_reporters (seen_at);
