"""The registry's schema, step by step."""

import uuid
from datetime import UTC, datetime

from services.registry.schema import MIGRATIONS, SCHEMA
from shared.postgres import connect, migrate
from tests.integration.registry.house import House, session
from tests.unit.registry.factories import rotated

LONG_AFTER = datetime(2100, 1, 1, tzinfo=UTC)


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


async def test_secrets_that_were_there_get_their_place_in_the_log(
    house: House, database_url: str
) -> None:
    """Step 4 takes it from the events, whatever the clock said when they were made."""
    told = house.application()
    first = told.creation()
    later = rotated(told.secret(), others_expire_at=LONG_AFTER, **told.subject)
    async with house.store() as store:
        await store.append(first)
        from tests.integration.registry.house import append

        await store.append(append(told.id, 1, later))
    connection = await connect(database_url)
    try:
        # As step 3 left it.
        await connection.execute(
            "DROP INDEX registry.secrets_by_application;"
            "ALTER TABLE registry.application_secrets DROP COLUMN position;"
            "CREATE INDEX secrets_by_application"
            "    ON registry.application_secrets (application_id, created_at, id);"
            "DELETE FROM registry.migrations WHERE number = 4"
        )
        assert await migrate(connection, SCHEMA, MIGRATIONS[:4]) == ["0004_secret_position.sql"]
        rows = await connection.fetch(
            "SELECT id, position FROM registry.application_secrets ORDER BY position"
        )
    finally:
        await connection.close()

    view = await house.views.find(told.id)
    assert [row["position"] for row in rows] == [1, 2]
    assert uuid.UUID(later.secret.id) == rows[1]["id"]
    assert view is not None
    assert [str(row["id"]) for row in rows] == [one.id for one in view.secrets]
