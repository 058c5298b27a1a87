"""`/preview`: mails as they would be, with sample data, for whoever writes templates."""

import html
from typing import get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.notifier import samples
from services.notifier.in_force import InForce
from services.notifier.library import CannotRender, tag_of
from services.notifier.rendering import Part, Parts
from services.notifier.rules import known_locale
from shared.problem import FieldError, Problem
from shared.web import json_response

# What a mail may do in the browser is less than what it may do in a mail program: styles, as they
# stand in it, and nothing else; no script, nothing from elsewhere, in no frame, in no index.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none';"
        " frame-ancestors 'none'; sandbox allow-popups allow-top-navigation-by-user-activation"
    ),
    "X-Robots-Tag": "noindex",
}


class Preview:
    """The handlers of `/preview`."""

    def __init__(self, in_force: InForce) -> None:
        self._in_force = in_force

    @property
    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/preview", self.index, methods=["GET"]),
            Route("/preview/{template}", self.show, methods=["GET"]),
        ]

    async def index(self, request: Request) -> Response:
        """Return which templates and locales there are: a page for browsers, else JSON."""
        library = self._in_force.renderer.library
        if "text/html" not in request.headers.get("accept", ""):
            found = {"templates": library.templates, "locales": library.locales}
            return json_response(found, headers=HEADERS)
        rows = "".join(
            f"<tr><th align=left>{html.escape(template)}</th>"
            + "".join(
                f'<td><a href="/preview/{template}?locale={locale}">{tag_of(locale)}</a></td>'
                for locale in library.locales
            )
            + "</tr>"
            for template in library.templates
        )
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width"><title>Mail templates</title>'
            "<style>:root{color-scheme:light dark}body{font-family:sans-serif}td{padding:0 8px}"
            f"</style><h1>Mail templates</h1><table>{rows}</table></html>"
        )
        return Response(page, headers=HEADERS, media_type="text/html")

    async def show(self, request: Request) -> Response:
        """Return a part of a mail."""
        part = _part(request)
        parts = self._parts(request.path_params["template"], _locale(request))
        language = {"Content-Language": ", ".join(map(tag_of, parts.locales))}
        return Response(
            getattr(parts, part),
            headers={**HEADERS, **language},
            media_type="text/html" if part == "html" else "text/plain",
        )

    def _parts(self, template: str, locale: str) -> Parts:
        renderer = self._in_force.renderer
        if template not in renderer.library.templates:
            there_are = ", ".join(renderer.library.templates)
            raise Problem(404, f"There is no such template. There are: {there_are}.")
        try:
            return renderer.parts(
                template,
                self._in_force.sample_for(template),
                samples.reader(locale=locale),
                date=samples.MOMENT,
                names=samples.NAMES,
            )
        except CannotRender as error:
            raise Problem(500, f"The template fails: {error}.") from None


def _locale(request: Request) -> str:
    try:
        return known_locale(request.query_params.get("locale", "en"))
    except ValueError:
        detail = "Give a locale such as en, de or fr_CA."
        raise Problem(400, detail, errors=[FieldError(detail, parameter="locale")]) from None


def _part(request: Request) -> Part:
    asked = request.query_params.get("part", "html")
    for part in get_args(Part):
        if part == asked:
            return part  # type: ignore[no-any-return]
    detail = f"Choose from {', '.join(get_args(Part))}."
    raise Problem(400, detail, errors=[FieldError(detail, parameter="part")])
