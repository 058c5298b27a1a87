"""Rules as `config.yml` has them: parsed once, refused with file and line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from babel import Locale, UnknownLocaleError
from pydantic import AfterValidator, Field, ValidationError, model_validator

from services.notifier.domain import (
    FACT_TYPES,
    ROLES,
    ActorCondition,
    Rule,
    SecretExpiring,
)
from shared.events import ApplicationDeactivated, DeactivationReason
from shared.sections import Section
from shared.setting_values import ConfigurationError
from shared.yaml_lines import place_of

SETTING = ("notifier", "rules")
# So many mails at most for one event; whoever needs more wants a mailing list.
MOST_RECIPIENTS = 20
LONGEST_WARNING_DAYS = 365
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_ADDRESS = re.compile(r"[!-;=?A-~]+@[!-;=?A-~]+")


def _fact(name: str) -> str:
    if name not in FACT_TYPES:
        message = f"there is no event {name!r}; choose from {', '.join(FACT_TYPES)}"
        raise ValueError(message)
    return name


def _recipient(text: str) -> str:
    if text not in ROLES and not _ADDRESS.fullmatch(text):
        message = f"{text!r} is none of {', '.join(ROLES)}, and no e-mail address"
        raise ValueError(message)
    return text


def known_locale(text: str) -> str:
    """Return a locale as we write it: `fr-CA` → `fr_CA`. Raises ValueError."""
    try:
        return str(Locale.parse(text.replace("-", "_")))
    except (ValueError, UnknownLocaleError):
        message = "that is no locale; give one such as en, de or fr_CA"
        raise ValueError(message) from None


class _When(Section):
    """The conditions of a rule; without one it always holds."""

    organizations: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    actor: ActorCondition = "any"
    reasons: Annotated[tuple[DeactivationReason, ...], Field(min_length=1)] | None = None


class _Rule(Section):
    """One rule, as it is written."""

    event: Annotated[str, AfterValidator(_fact)]
    template: Annotated[str, Field(pattern=f"^{_NAME.pattern}$")]
    recipients: Annotated[
        tuple[Annotated[str, AfterValidator(_recipient)], ...],
        Field(min_length=1, max_length=MOST_RECIPIENTS),
    ]
    enabled: bool = True
    when: _When = _When()
    days_before: tuple[Annotated[int, Field(ge=1, le=LONGEST_WARNING_DAYS)], ...] = ()
    locale: Annotated[str, AfterValidator(known_locale)] = "en"

    @model_validator(mode="after")
    def _fits_its_event(self) -> Self:
        """A condition that can never hold, or never matter, is a mistake."""
        about = FACT_TYPES[self.event]
        if bool(self.days_before) != (about is SecretExpiring):
            message = f"days_before goes with {SecretExpiring.__name__}, which needs it"
            raise ValueError(message)
        if self.when.reasons is not None and about is not ApplicationDeactivated:
            message = f"when.reasons goes with {ApplicationDeactivated.__name__} alone"
            raise ValueError(message)
        return self


def parse_rules(written: Mapping[str, Any], *, config: Path | None = None) -> tuple[Rule, ...]:
    """Return the rules of `notifier.rules`, read from this file.

    Raises ConfigurationError with one line that names file, line, setting and remedy.
    """
    return tuple(_parsed(name, one, config) for name, one in written.items())


def refusal(config: Path | None, reason: str, *path: str | int) -> ConfigurationError:
    """Return the error that names the place of a rule, or of a part of it."""
    setting = (*SETTING, *path)
    place = "" if config is None else f"{place_of(config, setting)}: "
    return ConfigurationError(f"{place}{'.'.join(map(str, setting))}: {reason}")


def _parsed(name: str, written: Any, config: Path | None) -> Rule:
    if not _NAME.fullmatch(str(name)):
        raise refusal(config, "name a rule by lower-case letters, digits and hyphens", name)
    try:
        rule = _Rule.model_validate(written)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            names = _When if first["loc"][:-1] == ("when",) else _Rule
            reason = f"no such setting; choose from: {', '.join(names.model_fields)}"
        raise refusal(config, f"{reason[0].lower()}{reason[1:]}", name, *first["loc"]) from None
    return Rule(
        name=name,
        about=FACT_TYPES[rule.event],
        template=rule.template,
        recipients=rule.recipients,
        enabled=rule.enabled,
        organizations=frozenset(rule.when.organizations or ()),
        actor=rule.when.actor,
        reasons=frozenset(rule.when.reasons or ()),
        days_before=frozenset(rule.days_before),
        locale=rule.locale,
    )
