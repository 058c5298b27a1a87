-- Description and expiry of applications, and what their lists are searched and sorted by.
--
-- Keys are in the C collation: the same order on every server, whatever its locale, and no index
-- that a new version of a C library silently puts out of order.

ALTER TABLE registry.applications
    ADD COLUMN description      text        NOT NULL DEFAULT '',
    ADD COLUMN expires_at       timestamptz,
    -- Outside the log, from the token service's reports.
    ADD COLUMN last_used_at     timestamptz,
    -- The name without case and accents, as services/registry/name_search.py makes it.
    ADD COLUMN name_key         text        COLLATE "C",
    -- Every run of three characters of name_key, and the shorter ones at its end: any part of a
    -- name begins with one of these, or is the beginning of one.
    ADD COLUMN name_parts       tsvector,
    -- A copy of the organization's name, so that a list sorted by it is read from an index.
    ADD COLUMN organization_key text        COLLATE "C";

CREATE FUNCTION registry.name_parts(key text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_to_tsvector(ARRAY (SELECT DISTINCT substr(key, n, 3)
                                      FROM generate_series(1, length(key)) AS n))
$$;

UPDATE registry.applications a
   SET name_key         = lower(a.name),
       name_parts       = registry.name_parts(lower(a.name)),
       organization_key = (SELECT lower(o.name) FROM registry.organizations o
                            WHERE o.id = a.organization_id);

-- A process of the version before does not know these columns: while both run, they are filled in
-- for it, as well as SQL can.
CREATE FUNCTION registry.fill_keys() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.name_key   := lower(NEW.name);
    NEW.name_parts := registry.name_parts(NEW.name_key);
    IF NEW.organization_key IS NULL THEN
        SELECT lower(o.name) INTO NEW.organization_key
          FROM registry.organizations o WHERE o.id = NEW.organization_id;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER fill_keys_of_new BEFORE INSERT ON registry.applications
    FOR EACH ROW WHEN (NEW.name_key IS NULL) EXECUTE FUNCTION registry.fill_keys();
CREATE TRIGGER fill_keys_of_renamed BEFORE UPDATE OF name ON registry.applications
    FOR EACH ROW WHEN (NEW.name <> OLD.name AND NEW.name_parts = OLD.name_parts)
    EXECUTE FUNCTION registry.fill_keys();

-- The log's lock first, as every append takes it: no application is added under the old name
-- while the new one is copied.
CREATE FUNCTION registry.copy_organization_name() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM registry.log_head FOR UPDATE;
    UPDATE registry.applications SET organization_key = lower(NEW.name)
     WHERE organization_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER copy_organization_name AFTER UPDATE OF name ON registry.organizations
    FOR EACH ROW WHEN (NEW.name <> OLD.name) EXECUTE FUNCTION registry.copy_organization_name();

ALTER TABLE registry.applications
    ALTER COLUMN name_key         SET NOT NULL,
    ALTER COLUMN name_parts       SET NOT NULL,
    ALTER COLUMN organization_key SET DEFAULT '';

-- What lists are read from, in their order. By name they are read as two, the active and the
-- others, and merged: so the one index serves the order by name, that by status and the filter.
DROP INDEX registry.applications_by_name;
CREATE INDEX applications_by_status_and_name ON registry.applications (active, name_key, id);
-- What is included decides without a look at the table.
CREATE INDEX applications_by_organization ON registry.applications (organization_key, name_key, id)
 INCLUDE (active, organization_id);
CREATE INDEX applications_by_created      ON registry.applications (created_at, id);
-- Partial: adding an application costs nothing here.
CREATE INDEX applications_by_last_used    ON registry.applications (last_used_at, id)
 WHERE last_used_at IS NOT NULL;
CREATE INDEX applications_by_expiry       ON registry.applications (expires_at)
 WHERE expires_at IS NOT NULL;

-- Appends only add to the index's list of pending entries, up to 64 MB; `tidy` in
-- services/registry/name_search.py sorts them in every second, outside of every append.
CREATE INDEX applications_by_name_parts   ON registry.applications USING gin (name_parts)
  WITH (fastupdate = on, gin_pending_list_limit = 65536);

-- A secret is always looked for with its application: one index instead of two, since every append
-- of an application pays for each.
ALTER TABLE registry.application_secrets
    DROP CONSTRAINT application_secrets_pkey,
    ADD PRIMARY KEY (application_id, id);
DROP INDEX registry.secrets_by_application;
