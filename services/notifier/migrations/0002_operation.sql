-- What operating the notifier needs: lists by application and person, claims found again, pruning.

-- The event's application; null for what was recorded before.
ALTER TABLE notifier.deliveries ADD COLUMN application_id text;
-- Another sender began it, was not heard of again, and may have handed it over.
ALTER TABLE notifier.deliveries ADD COLUMN in_doubt boolean NOT NULL DEFAULT false;

-- A person's and an application's deliveries, the newest first.
CREATE INDEX deliveries_by_recipient ON notifier.deliveries (recipient, created_at, id);
CREATE INDEX deliveries_by_application ON notifier.deliveries (application_id, created_at, id)
    WHERE application_id IS NOT NULL;
-- What one sender holds: looked for when the database's answer to its claim was lost.
CREATE INDEX deliveries_held ON notifier.deliveries (lease_owner) WHERE state = 'sending';
-- Each delivery is rewritten twice within moments. Without this, its old versions lie in the way of
-- the search for the next one until a fifth of the table is dead.
ALTER TABLE notifier.deliveries
    SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
