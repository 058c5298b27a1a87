-- How far the registry's list of first uses from new addresses has been read. Moves with the
-- deliveries that are recorded for them, and only while a rule is about them.
CREATE TABLE notifier.first_use_cursor (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    log_epoch text,
    position  bigint  NOT NULL CHECK (position >= 0)
);
INSERT INTO notifier.first_use_cursor (log_epoch, position) VALUES (NULL, 0);
