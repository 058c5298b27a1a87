-- Who changed what in the directory, and when. Written in the transaction that makes the change, so
-- that neither is there without the other.

-- What `ETag` and `If-Match` speak of. It counts the changes of a user's memberships too.
ALTER TABLE registry.organizations ADD COLUMN version integer NOT NULL DEFAULT 1;
ALTER TABLE registry.users         ADD COLUMN version integer NOT NULL DEFAULT 1;

-- The key of memberships begins with the user; an administrator's list asks by organization.
CREATE INDEX memberships_by_organization ON registry.memberships (organization_id, user_id);
CREATE INDEX users_by_name ON registry.users (name, id);

CREATE TABLE registry.directory_audit (
    -- In the order of the commits: all who write it hold one lock until then. There may be holes.
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time         timestamptz NOT NULL,
    -- `user:` and an id, or `cli:` and an account; then with which credential, such as `client:…`.
    actor        text        NOT NULL,
    correlation  text,
    action       text        NOT NULL,
    subject_kind text        NOT NULL CHECK (subject_kind IN ('organization', 'user')),
    subject_id   uuid        NOT NULL,
    -- Names of fields, and values of those that are not about a person: it is kept for ever.
    details      jsonb       NOT NULL
);
CREATE INDEX directory_audit_by_subject ON registry.directory_audit (subject_id, id);

-- Nothing of ours changes an entry; this holds also for a mistake at the prompt of psql.
CREATE FUNCTION registry.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries of % are neither changed nor removed', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON registry.directory_audit
    FOR EACH STATEMENT EXECUTE FUNCTION registry.refuse_change();
