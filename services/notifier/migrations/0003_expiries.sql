-- What will expire, to be warned of; and recipients that stand for several people.

-- Secrets and applications with an end that they were given, as the log has them.
CREATE TABLE notifier.expiries (
    -- The secret's id, or the application's own.
    id              text        PRIMARY KEY,
    is_secret       boolean     NOT NULL,
    hint            text        NOT NULL,
    expires_at      timestamptz NOT NULL,
    -- Since when the end stands: nobody is warned of a moment before.
    known_since     timestamptz NOT NULL,
    -- The fewest days before the end that have been told of.
    told_days       integer,
    application_id  text        NOT NULL,
    client_id       text        NOT NULL,
    organization_id text        NOT NULL,
    owner_id        text        NOT NULL,
    name            text        NOT NULL
);
CREATE INDEX expiries_by_end ON notifier.expiries (expires_at);
CREATE INDEX expiries_by_application ON notifier.expiries (application_id);

-- How far the log has been read for them. A cursor of its own: at first it is behind the other one,
-- so that what the version before has read is read again, for this alone, and sends no mail.
CREATE TABLE notifier.expiry_cursor (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    log_epoch text,
    position  bigint  NOT NULL CHECK (position >= 0)
);
INSERT INTO notifier.expiry_cursor (log_epoch, position) VALUES (NULL, 0);

-- `expanded`: became one delivery for each of the people it stood for. What is there already is in
-- one of the other states: not looked through again.
ALTER TABLE notifier.deliveries
    DROP CONSTRAINT deliveries_state_check,
    ADD CONSTRAINT deliveries_state_check
        CHECK (state IN ('due', 'sending', 'sent', 'unknown', 'parked', 'suppressed', 'expired',
                         'discarded', 'expanded')) NOT VALID;
