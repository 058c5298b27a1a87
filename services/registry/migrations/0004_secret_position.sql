-- Secrets in the order of the log, as every fold of the events has them. Their times cannot say it:
-- a clock may be set back, and two secrets may bear the same moment.
ALTER TABLE registry.application_secrets ADD COLUMN position bigint;
UPDATE registry.application_secrets s
   SET position = e.position
  FROM registry.events e
 WHERE e.stream = s.application_id
   AND e.data -> 'secret' ->> 'id' = s.id::text;
ALTER TABLE registry.application_secrets ALTER COLUMN position SET NOT NULL;

DROP INDEX registry.secrets_by_application;
CREATE INDEX secrets_by_application ON registry.application_secrets (application_id, position);
