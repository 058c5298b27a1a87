-- The time zone of a person (IANA), in which mail to them says when something happens.
ALTER TABLE registry.users ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC';
