-- The log: the truth, and the outbox at the same time.

-- One row. Whoever locks it may give out the next positions; it is held until commit, so a reader
-- who sees position p has been able to see every position below p.
CREATE TABLE registry.log_head (
    one_row  boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    epoch    uuid    NOT NULL,
    position bigint  NOT NULL CHECK (position >= 0)
);
INSERT INTO registry.log_head (epoch, position) VALUES (gen_random_uuid(), 0);

-- `json`, not `jsonb`: kept as it was written and copied into the feed as it is; nobody searches it.
CREATE TABLE registry.events (
    position   bigint      PRIMARY KEY,
    id         uuid        NOT NULL,
    stream     uuid        NOT NULL,
    version    integer     NOT NULL CHECK (version >= 1),
    type       text        NOT NULL,
    time       timestamptz NOT NULL,
    data       json        NOT NULL,
    -- Secret digests; can be set to NULL without touching the log's shape.
    private    json,
    metadata   json        NOT NULL,
    command_id uuid        NOT NULL,
    UNIQUE (stream, version)
);
-- The outcome of a command whose answer was lost is looked up here.
CREATE INDEX events_by_command ON registry.events (command_id);

-- The relay's whole state: everything up to here has been confirmed by the broker.
CREATE TABLE registry.relay_cursor (
    one_row  boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    epoch    uuid    NOT NULL,
    position bigint  NOT NULL CHECK (position >= 0)
);
INSERT INTO registry.relay_cursor (epoch, position) SELECT epoch, position FROM registry.log_head;
