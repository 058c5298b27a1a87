"""The registry's schema, step by step."""

import uuid

from services.registry.filters import Filter
from services.registry.schema import MIGRATIONS, SCHEMA
from shared.postgres import connect, migrate
from tests.integration.registry.house import House, session


async def test_the_log_begins_empty_and_the_relay_at_its_beginning(house: House) -> None:
    """Both in the same history."""
    head = await house.pool.fetchrow("SELECT epoch, position FROM registry.log_head")
    cursor = await house.pool.fetchrow("SELECT epoch, position FROM registry.relay_cursor")

    assert head is not None
    assert cursor is not None
    assert dict(head) == dict(cursor)
    assert head["position"] == 0


async def test_migrating_again_changes_nothing(house: House) -> None:
    """`oauthapps migrate` is run at every start."""
    async with house.store() as store, session(house.dsn) as connection:
        await store.append(house.application().creation())
        before = await _shape(connection)

        assert await migrate(connection, SCHEMA, MIGRATIONS) == []
        assert before == await _shape(connection)
    assert await house.positions() == [1]


async def _shape(connection: object) -> list[tuple[object, ...]]:
    rows = await connection.fetch(  # type: ignore[attr-defined]
        "SELECT table_name, column_name, data_type, is_nullable, column_default"
        "  FROM information_schema.columns WHERE table_schema = 'registry'"
        " ORDER BY table_name, ordinal_position"
    )
    return [tuple(row) for row in rows]


async def test_what_was_there_gets_its_place_and_its_keys(database_url: str) -> None:
    """Step 4 orders secrets as the log has them, step 5 lists applications that had no keys."""
    application, first, second = (str(uuid.uuid4()) for _ in range(3))
    connection = await connect(database_url)
    try:
        await migrate(connection, SCHEMA, MIGRATIONS[:3])
        await connection.execute(
            "INSERT INTO registry.applications VALUES"
            " ($1, 'c', $1, $1, 'Nightly CI', true, '{}', NULL, now(), now(), 2)",
            application,
        )
        for position, secret in enumerate((first, second), start=1):
            await connection.execute(
                "INSERT INTO registry.events VALUES"
                " ($1::int, $2::uuid, $2, $1, 'x', now(), json_build_object('secret',"
                "  json_build_object('id', $3::text)), NULL, '{}', $2)",
                position,
                application,
                secret,
            )
            await connection.execute(
                "INSERT INTO registry.application_secrets"
                " VALUES ($2, $1, 'hint', 'digest', now() - $3::int * interval '1 hour')",
                application,
                secret,
                # By its clock, the second was made before the first.
                position,
            )
        await migrate(connection, SCHEMA, MIGRATIONS)
        secrets = await connection.fetch(
            "SELECT id FROM registry.application_secrets ORDER BY position"
        )
        found = await connection.fetchval(
            "SELECT name_key FROM registry.applications WHERE name_parts @@ '''tly'''"
        )
    finally:
        await connection.close()

    assert [first, second] == [str(row["id"]) for row in secrets]
    assert found == "nightly ci"


async def test_the_version_before_goes_on_while_the_new_schema_is_there(house: House) -> None:
    """Its statements know no keys; what it adds and renames meanwhile is found all the same."""
    told = house.application(name="Nightly CI")
    connection = await connect(house.dsn)
    try:
        await connection.execute(
            "INSERT INTO registry.applications (id, client_id, organization_id, owner_id, name,"
            " active, scopes, created_at, updated_at, version)"
            " VALUES ($1, 'c', $2, $3, 'Nightly CI', true, '{}', now(), now(), 1)",
            told.id,
            told.subject["organization_id"],
            told.subject["owner_id"],
        )
        added = await house.lists.page(Filter(name="TLY"), limit=5)
        await connection.execute("UPDATE registry.applications SET name = 'Weekly CI'")
        renamed = await house.lists.page(Filter(name="eekl"), limit=5)
    finally:
        await connection.close()

    assert [one.name for one in added[0]] == ["Nightly CI"]
    assert [one.name for one in renamed[0]] == ["Weekly CI"]
