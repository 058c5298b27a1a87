-- What has been read of the log, and what is to be sent because of it.

-- One row: written in the transaction that records the deliveries of what was read.
CREATE TABLE notifier.cursor (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    log_epoch text,
    position  bigint  NOT NULL CHECK (position >= 0)
);
INSERT INTO notifier.cursor (log_epoch, position) VALUES (NULL, 0);

CREATE TABLE notifier.deliveries (
    id               uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    -- Identifiers as the event has them: text, so that no form of them can stop the intake.
    event_id         text        NOT NULL,
    event_type       text        NOT NULL,
    position         bigint      NOT NULL,
    rule             text        NOT NULL,
    template         text        NOT NULL,
    -- The user's id. The address is asked for when the mail is sent, and kept nowhere.
    recipient        text        NOT NULL,
    -- What the event says in public; the template's data.
    context          jsonb       NOT NULL,
    message_id       text        NOT NULL,
    state            text        NOT NULL CHECK (state IN ('due', 'sending', 'sent', 'unknown',
                                                           'parked', 'suppressed', 'expired',
                                                           'discarded')),
    attempts         integer     NOT NULL DEFAULT 0,
    -- How often nobody could know whether the mail was taken: each may have been a duplicate.
    unknown_outcomes integer     NOT NULL DEFAULT 0,
    -- Since when it waits to be sent; begins anew when an operator has it tried again.
    due_since        timestamptz NOT NULL DEFAULT now(),
    next_attempt_at  timestamptz NOT NULL DEFAULT now(),
    lease_owner      uuid,
    lease_until      timestamptz,
    last_error       text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz,
    CHECK ((state = 'sending') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL)),
    -- An event read again, by a second intake or after a registry was restored, notifies once.
    UNIQUE (event_id, rule, recipient)
);

-- What a sender looks for. Finished deliveries are many and not in it.
CREATE INDEX deliveries_to_send ON notifier.deliveries (next_attempt_at)
    WHERE state IN ('due', 'unknown', 'sending');
-- What an operator must look at: few, and counted every few seconds.
CREATE INDEX deliveries_parked ON notifier.deliveries (created_at) WHERE state = 'parked';
CREATE INDEX deliveries_by_age ON notifier.deliveries (created_at, id);
