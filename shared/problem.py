"""Errors of the REST APIs as problem details (RFC 9457), with pointers into the body (RFC 6901)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

PROBLEM_MEDIA_TYPE = "application/problem+json"
# As the OpenAPI documents describe it.
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "What is wrong and what to do (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string", "description": "As in the header X-Request-Id"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "detail": {"type": "string"},
                    "pointer": {"type": "string", "description": "JSON Pointer into the body"},
                    "parameter": {"type": "string"},
                },
                "required": ["detail"],
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
}

KEYS_MISSING = (
    "OAuth authorization is not available as encryption keys configuration was not complete. "
    "Please contact your administrator."
)

# What a fragment may hold as it is, besides letters, digits and -._~ (RFC 3986, section 3.5).
_FRAGMENT = "!$&'()*+,;=:@/?"
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    428: "Precondition Required",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong member of a body (`pointer`) or one wrong query parameter (`parameter`)."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(Exception):
    """An answer other than success; `detail` is for the person who reads it."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def body(self, request_id: str | None = None) -> bytes:
        """Return the JSON document; with the id of the request, by which our log can be asked."""
        document: dict[str, object] = {
            "type": "about:blank",
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
        }
        if request_id is not None:
            document["request_id"] = request_id
        if self.errors:
            document["errors"] = [
                {
                    name: value
                    for name, value in (
                        ("detail", one.detail),
                        ("pointer", one.pointer),
                        ("parameter", one.parameter),
                    )
                    if value is not None
                }
                for one in self.errors
            ]
        return msgspec.json.encode(document)


def pointer_to(*path: str | int) -> str:
    """Return a JSON pointer as a URI fragment: `#/organization/id` (RFC 6901, section 6)."""
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return "#" + quote(pointer, safe=_FRAGMENT, errors="replace")
