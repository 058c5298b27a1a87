-- Public keys by which an application authenticates, the lifetime of its tokens if it has one of its
-- own, and single tokens that were revoked before their time.
ALTER TABLE registry.applications
    ADD COLUMN keys          jsonb   NOT NULL DEFAULT '[]',
    ADD COLUMN token_seconds integer,
    ADD COLUMN revoked       jsonb   NOT NULL DEFAULT '[]';
