-- The read model: what the log says now. Written in the transaction that appends, and never the
-- source of anything that the log does not hold, but for digests whose private part was blanked.
-- No foreign keys: the append checks owner and organization under the log's lock, once a batch, and
-- a rebuild from the log must not depend on the directory's present state.

CREATE TABLE registry.applications (
    id              uuid        PRIMARY KEY,
    client_id       text        NOT NULL UNIQUE COLLATE "C",
    organization_id uuid        NOT NULL,
    owner_id        uuid        NOT NULL,
    name            text        NOT NULL,
    active          boolean     NOT NULL,
    scopes          text[]      NOT NULL,
    not_before      timestamptz,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    version         integer     NOT NULL,
    UNIQUE (owner_id, organization_id, name)
);
CREATE INDEX applications_by_name ON registry.applications (name, id);

CREATE TABLE registry.application_secrets (
    id             uuid        PRIMARY KEY,
    application_id uuid        NOT NULL,
    hint           text        NOT NULL,
    digest         text        NOT NULL,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz
);
CREATE INDEX secrets_by_application ON registry.application_secrets (application_id, created_at, id);
