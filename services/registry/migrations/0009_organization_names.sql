-- A renamed organization's name is copied into its applications by a job of the registry, some
-- hundred at a time, and no longer under the log's lock by the statement that renames it.

ALTER TABLE registry.organizations
    -- Names that some of its applications may still be sorted by, since the last time all were.
    ADD COLUMN former_names text[] NOT NULL DEFAULT '{}';

-- What a process of the version before renamed is found by its trigger too.
DROP TRIGGER copy_organization_name ON registry.organizations;
DROP FUNCTION registry.copy_organization_name();
CREATE FUNCTION registry.keep_former_name() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.former_names := array_append(OLD.former_names, OLD.name);
    RETURN NEW;
END
$$;
CREATE TRIGGER keep_former_name BEFORE UPDATE OF name ON registry.organizations
    FOR EACH ROW WHEN (NEW.name <> OLD.name) EXECUTE FUNCTION registry.keep_former_name();
