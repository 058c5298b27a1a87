"""The parameters of a token request, read strictly: RFC 6749, section 3.2 and appendix B."""

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote_to_bytes

import msgspec

from services.token.errors import InvalidRequest, UnsupportedMediaType

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
# RFC 8707, section 2: the only one that may be repeated.
REPEATABLE = "resource"
KNOWN = frozenset(
    {
        *("grant_type", "client_id", "client_secret", "scope", REPEATABLE),
        *("client_assertion", "client_assertion_type", "token", "token_type_hint"),
    }
)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class _Members(list[tuple[str, object]]):
    """The members of a JSON object as they came."""


class Parameters(msgspec.Struct, frozen=True, gc=False):
    """What was sent: empty values are left out, unknown names are kept and ignored."""

    single: Mapping[str, str]
    resources: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Leave secrets and tokens out of every log line and traceback."""
        return f"Parameters({', '.join(sorted(self.single.keys() & KNOWN))})"

    def get(self, name: str) -> str | None:
        """Return a parameter's value, or None when it is absent or empty."""
        return self.single.get(name)


def parse(content_type: str, body: bytes) -> Parameters:
    """Return the parameters of a body. Raises UnsupportedMediaType, InvalidRequest."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == FORM:
        return _collect(_form(body))
    if media_type == JSON:
        return _collect(_json(body))
    raise UnsupportedMediaType


def form_decode(encoded: str) -> str:
    """Return the text of a form-encoded value. Raises ValueError when it is none."""
    if "%" not in encoded and "+" not in encoded:
        return encoded
    if _BROKEN_ESCAPE.search(encoded):
        raise ValueError
    return unquote_to_bytes(encoded.replace("+", " ")).decode("utf-8")


def _form(body: bytes) -> Iterable[tuple[str, str]]:
    pairs = []
    try:
        for pair in body.decode("utf-8").split("&"):
            name, _, value = pair.partition("=")
            if "%" in pair or "+" in pair:
                name, value = form_decode(name), form_decode(value)
            if name or value:
                pairs.append((name, value))
    except ValueError:
        raise InvalidRequest("The body is not form-encoded UTF-8.") from None
    return pairs


def _json(body: bytes) -> Iterable[tuple[str, str]]:
    fault = InvalidRequest("The body is not a JSON object of texts.")
    try:
        # As pairs: a dictionary would hide a member that comes twice.
        members = json.loads(body.decode("utf-8"), object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        raise fault from None
    if not isinstance(members, _Members):
        raise fault
    for name, value in members:
        if isinstance(value, str):
            yield name, value
        elif name == REPEATABLE and isinstance(value, list):
            if not all(isinstance(one, str) for one in value):
                raise fault
            yield from ((name, one) for one in value)
        elif name in KNOWN and value is not None:
            raise fault
        else:
            # Counts as omitted, but twice is still twice.
            yield name, ""


def _collect(pairs: Iterable[tuple[str, str]]) -> Parameters:
    single: dict[str, str] = {}
    seen: set[str] = set()
    resources: list[str] = []
    for name, value in pairs:
        if name == REPEATABLE:
            if value:
                resources.append(value)
            continue
        if name in seen:
            raise InvalidRequest("A parameter is repeated.")
        seen.add(name)
        if value:
            single[name] = value
    return Parameters(single, tuple(resources))
