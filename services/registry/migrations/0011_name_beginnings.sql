-- The one to three characters that a name begins with stand once more behind a mark, unless they
-- come again later. So a search can leave out the names that begin with what is looked for: a list
-- by name reads those from another index.
CREATE OR REPLACE FUNCTION registry.name_parts(key text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_to_tsvector(
               ARRAY (SELECT substr(key, n, 3) FROM generate_series(1, length(key)) AS n
                      UNION
                      SELECT E'\x02' || substr(key, 1, n) FROM generate_series(1, 3) AS n
                       WHERE strpos(substr(key, 2), substr(key, 1, n)) = 0))
$$;

UPDATE registry.applications SET name_parts = registry.name_parts(name_key);

-- The expiry too, so that what obtains tokens is told without a look at the table.
DROP INDEX registry.applications_by_status_and_name, registry.applications_by_organization;
CREATE INDEX applications_by_status_and_name ON registry.applications (active, name_key, id)
 INCLUDE (expires_at);
CREATE INDEX applications_by_organization ON registry.applications (organization_key, name_key, id)
 INCLUDE (active, organization_id, expires_at);
