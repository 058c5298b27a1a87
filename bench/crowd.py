"""A million applications, as a house that has grown has them: what lists are measured on."""

from services.registry.schema import MIGRATIONS, SCHEMA
from shared.postgres import connect, migrate_database

APPLICATIONS = 1_000_000
# Made by one statement each, for which no batch of the log is big enough: minutes become seconds.
_SECONDS = 600.0


async def furnish(dsn: str, count: int = APPLICATIONS) -> None:
    """Fill an empty database with organizations, owners and applications; no events are made.

    A third of the applications belongs to one organization of 500; a twentieth is inactive, a
    third was never used, a fiftieth has an end.
    """
    await migrate_database(dsn, SCHEMA, MIGRATIONS)
    connection = await connect(dsn, command_seconds=_SECONDS)
    try:
        await connection.execute(_DIRECTORY)
        indexes = await connection.fetch(_INDEXES)
        for index in indexes:
            await connection.execute(f"DROP INDEX registry.{index['name']}")
        await connection.execute(_FILL, count)
        assert await connection.fetchval(_AS_THE_REGISTRY_WOULD)
        for index in indexes:
            await connection.execute(index["definition"])
        await connection.execute("VACUUM (ANALYZE) registry.applications")
        await connection.execute("ANALYZE registry.organizations, registry.users")
    finally:
        connection.terminate()


_DIRECTORY = """
INSERT INTO registry.organizations (name)
SELECT 'Organization ' || n FROM generate_series(1, 500) AS n;
INSERT INTO registry.users (email, name)
SELECT 'user' || n || '@example.com', 'User ' || n FROM generate_series(1, 20000) AS n;
"""
# All that no constraint needs; they are made again at the end, which is many times faster.
_INDEXES = """
SELECT indexname AS name, indexdef AS definition
  FROM pg_indexes
 WHERE schemaname = 'registry' AND tablename = 'applications' AND indexname LIKE 'applications_by%'
"""
_AS_THE_REGISTRY_WOULD = """
SELECT bool_and(name_parts = registry.name_parts(name_key))
  FROM (SELECT * FROM registry.applications LIMIT 1000) AS one
"""
_FILL = """
WITH organization AS (
    SELECT id, name, row_number() OVER (ORDER BY name) - 1 AS n FROM registry.organizations
), owner AS (
    SELECT id, row_number() OVER (ORDER BY email) - 1 AS n FROM registry.users
), one AS (
    SELECT n, hashint4(n) & 2147483647 AS h, hashint4(n + 77777777) & 2147483647 AS i
      FROM generate_series(1, $1::integer) AS n
), named AS (
    SELECT one.*,
           (ARRAY['nightly', 'billing', 'export', 'payroll', 'sync', 'import',
                  'report', 'mailer', 'backup', 'search', 'crm', 'gateway'])[1 + h % 12] || ' ' ||
           (ARRAY['service', 'job', 'client', 'bridge', 'agent', 'worker', 'portal'])[1 + i % 7]
           || ' ' || to_hex(h % 16777216) || ' ' || n AS name
      FROM one
)
INSERT INTO registry.applications (id, client_id, organization_id, owner_id, name, active, scopes,
                                   created_at, updated_at, version, name_key, name_parts,
                                   organization_key, last_used_at, expires_at)
SELECT gen_random_uuid(), md5(x.n::text), o.id, u.id, x.name, h % 20 > 0, '{applications:read}',
       timestamptz '2025-01-01' + x.n * interval '30 s',
       timestamptz '2025-01-01' + x.n * interval '30 s',
       1, x.name,
       -- registry.name_parts(x.name), in half the time: not called, and with nothing to compare.
       array_to_tsvector(
           ARRAY (SELECT substr(x.name, m, 3) FROM generate_series(1, length(x.name)) AS m
                  UNION ALL
                  SELECT E'\\x02' || substr(x.name, 1, m) FROM generate_series(1, 3) AS m
                   WHERE strpos(substr(x.name, 2), substr(x.name, 1, m)) = 0)),
       lower(o.name),
       CASE WHEN i % 3 > 0 THEN timestamptz '2026-01-01' + (h % 20000000) * interval '1 s' END,
       CASE WHEN i % 50 = 0 THEN timestamptz '2026-01-01' + (i % 60000000) * interval '1 s' END
  FROM named        x
  JOIN organization o ON o.n = (h / 7) % (CASE WHEN h % 3 = 0 THEN 1 ELSE 500 END)
  JOIN owner        u ON u.n = (i / 11) % 20000
"""
