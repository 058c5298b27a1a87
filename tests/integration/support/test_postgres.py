"""Each test has a database of its own."""

import asyncpg


async def test_a_database_is_empty_and_its_own(database_url: str) -> None:
    """What another test left would make this one depend on it."""
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT current_database()") in database_url
        assert await connection.fetchval("SELECT count(*) FROM pg_stat_user_tables") == 0
    finally:
        await connection.close()
