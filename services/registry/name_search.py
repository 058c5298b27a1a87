"""Searching names for a part of them, without regard to case and accents.

Postgres keeps for each name every run of three characters in a full-text index (GIN). Its own
extension for this, pg_trgm, is not on every server, folds no more letters than the server's locale
knows, and finds nothing for less than three characters.
"""

import asyncio
import unicodedata
from itertools import islice

from shared.interruptions import Interruptions
from shared.logs import get_logger
from shared.postgres import POSTGRES_ERRORS, Pool

PART = 3
KEY_LIMIT = 255
TIDY_SECONDS = 1.0
# No name contains these: names hold no control characters.
BEGINNING = "\x02"
SEPARATOR = "\x1f"
log = get_logger(__name__)


def key_of(name: str) -> str:
    """Return what a name is sorted and searched by: "CAFÉ" and "Café" are "cafe"."""
    if name.isascii():
        return name.lower()
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    letters = (one for one in decomposed if not unicodedata.combining(one))
    # A single letter can become eighteen, and an index takes only so much.
    return "".join(islice(letters, KEY_LIMIT))


def parts_of(key: str) -> str:
    """Return the parts a key is found by, separated by SEPARATOR.

    Beginnings of up to PART characters that do not come again later are there too, marked.
    """
    parts = {key[at : at + PART] for at in range(len(key))}
    beginnings = {key[:length] for length in range(1, PART + 1)}
    parts |= {BEGINNING + one for one in beginnings if one not in key[1:]}
    return SEPARATOR.join(parts)


def query_of(key: str, *, after_beginning: bool = False) -> str:
    """Return the `tsquery` that all keys with this one in them match, and few others.

    With `after_beginning` those that begin with it need not match.
    """
    parts = {_quoted(key[at : at + PART]) for at in range(len(key) - PART + 1)}
    if len(key) < PART:
        parts = {f"{_quoted(key)}:*"}
    if after_beginning:
        parts.add(f"!{_quoted(BEGINNING + key[:PART])}")
    return " & ".join(sorted(parts))


def _quoted(part: str) -> str:
    escaped = part.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


async def tidy(pool: Pool) -> None:
    """Sort what appends left pending into the index, again and again, until cancelled."""
    # Nothing is lost: searches read the pending entries too, only more slowly.
    untidied = Interruptions(log, "search index not tidied", over="search index tidied again")
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        try:
            await pool.execute(_TIDY)
        except POSTGRES_ERRORS as error:
            untidied.note(error)
        else:
            untidied.over()


_TIDY = "SELECT registry.tidy_names()"
