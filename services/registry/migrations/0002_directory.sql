-- Organizations, users and who belongs where. Names and addresses of people stand here and in no
-- event, so that they can be corrected and erased.

CREATE TABLE registry.organizations (
    id            uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    name          text        NOT NULL UNIQUE CHECK (name <> ''),
    global_access boolean     NOT NULL DEFAULT false,
    active        boolean     NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE registry.users (
    id            uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text        NOT NULL,
    name          text        NOT NULL CHECK (name <> ''),
    locale        text        NOT NULL DEFAULT 'en',
    active        boolean     NOT NULL DEFAULT true,
    administrator boolean     NOT NULL DEFAULT false,
    password_hash text,
    created_at    timestamptz NOT NULL DEFAULT now()
);
-- One account an address, however it is capitalised.
CREATE UNIQUE INDEX users_by_email ON registry.users (lower(email));

CREATE TABLE registry.memberships (
    user_id         uuid NOT NULL REFERENCES registry.users ON DELETE CASCADE,
    organization_id uuid NOT NULL REFERENCES registry.organizations ON DELETE CASCADE,
    PRIMARY KEY (user_id, organization_id)
);
