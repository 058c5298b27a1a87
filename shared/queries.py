"""Parameters of a URL: each is checked, and a wrong one is named."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, TypeVar

from starlette.requests import Request

from shared.cursors import PAGE_LIMIT
from shared.moments import parse_moment
from shared.problem import FieldError, Problem

# Positions are bigint in Postgres.
LOG_LIMIT = 2**63 - 1
DEFAULT_PAGE = 50
PAGE_QUERY: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT, "default": DEFAULT_PAGE},
    "cursor": {"type": "string", "description": "`next_cursor` of the page before"},
}
# An empty parameter is as good as none.
ID_OR_ANY = {
    "anyOf": [{"type": "string", "format": "uuid"}, {"type": "string", "maxLength": 0}],
}
Choice = TypeVar("Choice", bound=str)


def query_of(request: Request, *known: str, repeatable: Collection[str] = ()) -> dict[str, str]:
    """Return the query's parameters, empty ones left out. Raises Problem 400 for an unknown one."""
    for name in request.query_params:
        if name not in known:
            raise parameter_problem(
                name, f"There is no such parameter; there are: {', '.join(known)}."
            )
        if name not in repeatable and len(request.query_params.getlist(name)) > 1:
            raise parameter_problem(name, "Give this parameter once.")
    return {name: value for name, value in request.query_params.items() if value != ""}


def parameter_problem(name: str, detail: str) -> Problem:
    """Return the answer to a parameter that cannot be used."""
    return Problem(400, detail, errors=[FieldError(detail, parameter=name)])


def whole(query: dict[str, str], name: str, default: int, *, least: int, most: int) -> int:
    """Return a whole number, or the default. Raises Problem 400."""
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or not least <= int(text) <= most:
        raise parameter_problem(name, f"Give a whole number from {least} to {most}.")
    return int(text)


def limit_of(query: dict[str, str]) -> int:
    """Return how many items a page may have. Raises Problem 400."""
    return whole(query, "limit", DEFAULT_PAGE, least=1, most=PAGE_LIMIT)


def seconds(query: dict[str, str], name: str, *, most: float) -> float:
    """Return a number of seconds, 0 by default. Raises Problem 400."""
    try:
        seconds = float(query.get(name, "0"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= most:
        raise parameter_problem(name, f"Give seconds from 0 to {most:g}.")
    return seconds


def flag(text: str | None, name: str) -> bool | None:
    """Return true or false, or None. Raises Problem 400."""
    if text is None:
        return None
    if text not in ("true", "false"):
        raise parameter_problem(name, "Give true or false.")
    return text == "true"


def text_of(text: str | None, name: str) -> str | None:
    """Return a text to look for, or None. Raises Problem 400."""
    if text is not None and ("\0" in text or len(text) > 255):
        raise parameter_problem(name, "Give at most 255 characters, none of them NUL.")
    return text


def id_of(text: str | None, name: str) -> str | None:
    """Return an id, or None. Raises Problem 400."""
    if text is None:
        return None
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise parameter_problem(name, "Give an id.") from None


def ids_of(request: Request, name: str, *, most: int = 50) -> frozenset[str] | None:
    """Return the ids of a parameter that may be repeated, or None. Raises Problem 400."""
    found = {id_of(text, name) for text in request.query_params.getlist(name) if text != ""}
    if len(found) > most:
        raise parameter_problem(name, f"Give at most {most} ids.")
    return frozenset(one for one in found if one is not None) or None


def moment_of(text: str | None, name: str) -> datetime | None:
    """Return a moment, or None. Raises Problem 400."""
    if text is None:
        return None
    try:
        # In a URL a plus sign that was not escaped is a space.
        return parse_moment(text.replace(" ", "+"))
    except ValueError as error:
        raise parameter_problem(name, f"{str(error).capitalize()}.") from None


def choice_of(text: str | None, name: str, choices: Sequence[Choice]) -> Choice | None:
    """Return one of the choices, or None. Raises Problem 400."""
    if text is None:
        return None
    if text not in choices:
        raise parameter_problem(name, f"Give one of: {', '.join(choices)}.")
    return choices[choices.index(text)]
