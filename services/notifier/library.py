"""The templates, compiled: each over `<locale>/_base`, which is over `_layout`.

A file that a locale does not have is taken from the locale above it: `fr_CA → fr → en`. All of them
are compiled at once, so that a mail never meets a file that changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from traceback import extract_tb
from typing import Any

from jinja2 import (
    BaseLoader,
    Environment,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    nodes,
)
from jinja2.meta import find_undeclared_variables

from services.notifier.bounded_templates import bounded, environment_of
from services.notifier.template_files import (
    BASE,
    DEFAULT_LOCALE,
    LAYOUT,
    PARTS,
    Source,
    TemplateRefused,
)
from services.notifier.wording import FILTERS
from shared.failures import PermanentFailure


class CannotRender(PermanentFailure):
    """Template, sender or recipient do not make a mail."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A part of a mail, and the locale of the file that it was made of."""

    text: str
    locale: str


class Library:
    """Templates that have been read and compiled. Raises TemplateRefused."""

    def __init__(self, sources: Mapping[str, Source], variables: frozenset[str]) -> None:
        self._sources = sources
        self.locales = tuple(sorted({_locale_of(name) for name in sources} - {LAYOUT}))
        self.templates = tuple(
            sorted({parts[1] for name in sources if len(parts := name.split("/")) == 3} - {BASE})
        )
        self._environments = {
            locale: environment_of(_ByLocale(sources, chain_of(locale)), FILTERS, hidden=variables)
            for locale in self.locales
        }
        for name, source in sources.items():
            of_whom = self.locales if _locale_of(name) == LAYOUT else (_locale_of(name),)
            _check(self._environments[of_whom[0]], name, source, variables)
        for template in self.templates:
            for part in PARTS:
                if f"{DEFAULT_LOCALE}/{template}/{part}" not in sources:
                    message = (
                        f"template {template}: there is no {DEFAULT_LOCALE}/{template}/{part}, "
                        "which readers of all other languages get; add it"
                    )
                    raise TemplateRefused(message)

    def locale_for(self, locale: str) -> str:
        """Return the nearest locale that there are templates in: `de_AT` → `de`, else the default.

        `locale` may be anything that a person has been given.
        """
        return next(one for one in chain_of(locale) if one in self._environments)

    def render(self, template: str, part: str, locale: str, values: Mapping[str, Any]) -> Rendered:
        """Return a part for a reader of a locale. Raises CannotRender."""
        name = f"{template}/{part}"
        if template not in self.templates:
            message = f"there is no template {template}"
            raise CannotRender(message)
        environment = self._environments[self.locale_for(locale)]
        try:
            found = environment.get_template(name)
            language = _locale_of(str(found.filename).partition(":")[0])
            with bounded():
                text = found.render({**values, "language": tag_of(language)})
            return Rendered(text, language)
        except TemplateError as error:
            # It names variables and lines, never a value.
            reason = f"{type(error).__name__}: {error.message}"
            raise CannotRender(f"template {self._place(error, name)}: {reason}") from None
        except Exception as error:  # noqa: BLE001 - an expression may raise whatever Python raises
            message = f"template {self._place(error, name)}: {type(error).__name__}"
            raise CannotRender(message) from None

    def _place(self, error: Exception, name: str) -> str:
        """Return the file and the line that an error is from."""
        for frame in reversed(extract_tb(error.__traceback__)):
            of_locale = frame.filename.partition(":")[0]
            if of_locale in self._sources:
                return f"{self._sources[of_locale].origin}, line {frame.lineno}"
        return name


def chain_of(locale: str) -> tuple[str, ...]:
    """Return where to look for a file, in order: `fr_CA` → `fr_CA`, `fr`, `en`."""
    language, *rest = locale.replace("-", "_").split("_")
    chain = []
    parts = [language.lower(), *rest]
    while parts:
        chain.append("_".join(parts))
        parts.pop()
    return tuple(dict.fromkeys([*chain, DEFAULT_LOCALE]))


def tag_of(locale: str) -> str:
    """Return a locale as HTML and mail headers write it: `fr-CA` (RFC 5646)."""
    return locale.replace("_", "-")


class _ByLocale(BaseLoader):
    """Finds a file in the first locale of a chain that has it."""

    def __init__(self, sources: Mapping[str, Source], chain: Sequence[str]) -> None:
        self._sources = sources
        self._chain = chain

    def get_source(self, _environment: Environment, template: str) -> tuple[str, str, None]:
        """Return a file's text and its name; the name begins with its locale."""
        for name in (template, *(f"{locale}/{template}" for locale in self._chain)):
            if name in self._sources:
                return self._sources[name].text, name, None
        raise TemplateNotFound(template)


def _check(environment: Environment, name: str, source: Source, variables: frozenset[str]) -> None:
    """Refuse what does not compile, and names that no event gives a value to."""
    try:
        tree = environment.parse(source.text)
        unknown = find_undeclared_variables(tree) - variables - _defined_in(tree)
        # Compiled, and kept for the mails to come.
        environment.get_template(name if name.startswith(LAYOUT) else name.partition("/")[2])
    except TemplateSyntaxError as error:
        message = f"{source.origin}, line {error.lineno}: {error.message}"
        raise TemplateRefused(message) from None
    except (TemplateError, RecursionError) as error:
        message = f"{source.origin}: {type(error).__name__}"
        raise TemplateRefused(message) from None
    if unknown:
        line, name = min(
            (one.lineno, one.name) for one in tree.find_all(nodes.Name) if one.name in unknown
        )
        known = ", ".join(sorted(variables))
        message = f"{source.origin}, line {line}: no variable {name}; choose from: {known}"
        raise TemplateRefused(message)


def _defined_in(tree: nodes.Template) -> set[str]:
    """Return the names that a file gives itself outside its blocks, and that hold within them."""
    names: set[str] = set()
    for one in tree.body:
        match one:
            case nodes.FromImport():
                names.update(name if isinstance(name, str) else name[1] for name in one.names)
            case nodes.Import():
                names.add(one.target)
            case nodes.Macro():
                names.add(one.name)
            case nodes.Assign() | nodes.AssignBlock():
                names.update(name.name for name in one.target.find_all(nodes.Name))
                names.add(getattr(one.target, "name", ""))
            case _:
                pass
    return names


def _locale_of(name: str) -> str:
    return name.partition("/")[0]
