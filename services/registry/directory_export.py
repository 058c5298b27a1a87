"""Writing the whole directory down, as it is at one moment."""

from collections.abc import Callable

from services.registry.directory import (
    SELECT_ORGANIZATIONS,
    SELECT_USERS,
    organization_of,
    user_of,
)
from services.registry.directory_lines import organization_line, user_line
from shared.postgres import Pool

# Rows that are in memory at the same time.
PAGE = 1000


async def export_directory(
    pool: Pool,
    write: Callable[[bytes], object],
    *,
    with_password_hashes: bool,
    on_progress: Callable[[int, int], None] = lambda _done, _whole: None,
) -> int:
    """Write all organizations, then all users, a line each; return how many lines."""
    done = 0
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        whole: int = await connection.fetchval(_COUNT)
        async for row in connection.cursor(_ORGANIZATIONS, prefetch=PAGE):
            write(organization_line(organization_of(row)))
            done += 1
        hashes: dict[str, str] = {}
        cursor = await connection.cursor(_USERS)
        while rows := await cursor.fetch(PAGE):
            users = [user_of(row) for row in rows]
            if with_password_hashes:
                found = await connection.fetch(_HASHES, [one.id for one in users])
                hashes = {str(row["id"]): row["password_hash"] for row in found}
            for user in users:
                write(user_line(user, hashes.get(user.id)))
            done += len(users)
            on_progress(done, whole)
    return done


_COUNT = """
SELECT (SELECT count(*) FROM registry.organizations) + (SELECT count(*) FROM registry.users)
"""
_ORGANIZATIONS = SELECT_ORGANIZATIONS + " ORDER BY o.name"
_USERS = SELECT_USERS + " ORDER BY lower(u.email)"
_HASHES = "SELECT id, password_hash FROM registry.users WHERE id = ANY ($1::uuid[])"
