-- Events of the log that the version which read them could not decode: parked, and passed over.
-- A version that can decode them tells of them when it starts.
CREATE TABLE notifier.undecodable_events (
    log_epoch      text        NOT NULL,
    position       bigint      NOT NULL,
    -- As the event has them, as far as they can be read. Of its content nothing is kept.
    event_id       text,
    event_type     text,
    application_id text,
    occurred_at    timestamptz,
    reason         text        NOT NULL,
    parked_at      timestamptz NOT NULL DEFAULT now(),
    -- Read again, an event is parked once.
    PRIMARY KEY (log_epoch, position)
);
