"""What a form sends: read once, with the limits of any other body."""

from urllib.parse import parse_qsl

from starlette.requests import Request

from shared.problem import Problem
from shared.web import read_body

MEDIA_TYPE = "application/x-www-form-urlencoded"
FIELDS = 200


class Form:
    """The fields of a form. One that is not there is empty."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """Return a field's value, the first if there are several."""
        return next((value for key, value in self._fields if key == name), "")

    def texts(self, name: str) -> list[str]:
        """Return all values of a field."""
        return [value for key, value in self._fields if key == name]

    def flag(self, name: str) -> bool:
        """Tell whether a box is ticked."""
        return self.text(name) != ""

    def with_text(self, name: str, value: str) -> "Form":
        """Return the form with another value in a field."""
        return Form([*((key, kept) for key, kept in self._fields if key != name), (name, value)])

    def kept(self, *names: str) -> list[tuple[str, str]]:
        """Return the fields that may be filled in again, so that nobody types them twice."""
        return [(key, value) for key, value in self._fields if key in names]


async def form_of(request: Request, *, limit: int) -> Form:
    """Return what a form sent; `limit` in bytes. Raises Problem 400, 408, 413 or 415."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != MEDIA_TYPE:
        raise Problem(415, f"Send the form as {MEDIA_TYPE}.")
    body = await read_body(request, limit=limit)
    try:
        fields = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=FIELDS, errors="strict"
        )
    except ValueError:
        raise Problem(400, "The form cannot be read.") from None
    # Browsers send line breaks as CRLF.
    return Form([(key, value.replace("\r\n", "\n")) for key, value in fields])
