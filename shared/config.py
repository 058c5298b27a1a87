"""The configuration: `config.yml`, each value overridable from the environment.

`OAUTHAPPS_TOKEN__MAX_STALENESS=10m` overrides `token.max_staleness`. Every setting has a default,
a type and a place in `config.yml`; whatever is wrong is one line that names the setting and the
remedy. Secrets come from the environment or from files, never from `config.yml` itself.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.sections import (
    Bus,
    Internal,
    Logs,
    Notifier,
    Registry,
    Resource,
    Scope,
    Section,
    Server,
    Subscription,
    Telemetry,
    Token,
)
from shared.setting_values import ConfigurationError
from shared.yaml_lines import place_of

# What an application may have instead of `token.lifetime`.
LONGEST_OF_AN_APPLICATION = timedelta(days=1)
ENVIRONMENT_PREFIX = "OAUTHAPPS_"
CONFIG_VARIABLE = "OAUTHAPPS_CONFIG"
VAR_VARIABLE = "OAUTHAPPS_VAR"
# How worker processes are told where they count together.
TALLY_VARIABLE = "OAUTHAPPS_TALLY"
# Variables with our prefix that are not settings of config.yml.
OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, VAR_VARIABLE, TALLY_VARIABLE})
OTHER_PREFIXES = ("OAUTHAPPS_TEST_", "OAUTHAPPS_BENCH_")

# Files that are read where only a part of the configuration is known, wherever they stand in it.
_FILES_IN_VAR = frozenset(
    {
        "url_file",
        "password_file",
        "client_secret_file",
        "ca_file",
        "private_key_file",
        "otlp_headers_file",
    }
)
# What holds a password; beside each stands a setting for a file that holds it, NAME_file.
_SECRETS = frozenset({"url", "password", "client_secret", "otlp_headers"})


class Settings(BaseSettings):
    """Everything that can be set. Paths that are not absolute count from `var`."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
    )

    var: Path = Field(default=Path("var"), exclude=True)
    # The file that these settings were read from, if they were.
    config: Path | None = Field(default=None, exclude=True)
    registry: Registry = Registry()
    token: Token = Token()
    notifier: Notifier = Notifier()
    server: Server = Server()
    subscription: Subscription = Subscription()
    bus: Bus = Bus()
    internal: Internal = Internal()
    logs: Logs = Logs()
    telemetry: Telemetry = Telemetry()
    resources: dict[str, Resource] = {}
    scopes: dict[str, Scope] = Field(
        default={
            "applications:read": Scope(description="See the applications of the owner"),
            "applications:write": Scope(description="Change the applications of the owner"),
            "introspection": Scope(
                description="Ask the token service about all access tokens",
                administrators_only=True,
            ),
            "events:read": Scope(
                description="Follow the events of all applications", administrators_only=True
            ),
            "directory:read": Scope(
                description="See the organizations and users that the owner administers",
                administrators_only=True,
            ),
            "directory:write": Scope(
                description="Change the organizations and users that the owner administers",
                administrators_only=True,
            ),
            "notifications:read": Scope(
                description="See which mail was sent to whom, and what was not",
                administrators_only=True,
            ),
            "notifications:write": Scope(
                description="Have mail sent again, or given up", administrators_only=True
            ),
        }
    )

    def in_var(self, path: Path) -> Path:
        """Return a path that counts from `var`, as the services open it."""
        return self.var / path

    @property
    def public_url(self) -> str:
        """Where people and other systems reach the registry; also the `source` of its events."""
        return self.registry.public_url or f"http://localhost:{self.registry.port}"

    @property
    def notifier_public_url(self) -> str:
        """Where other systems reach the notifier's API."""
        return self.notifier.public_url or f"http://localhost:{self.notifier.port}"

    @property
    def issuer(self) -> str:
        """The `iss` of access tokens, and where clients reach the token service (RFC 8414)."""
        return self.token.issuer or f"http://localhost:{self.token.port}"

    @property
    def audience(self) -> str:
        """The `aud` of access tokens: the API they are for (RFC 9068, section 3)."""
        return self.token.audience or self.public_url

    @property
    def longest_token(self) -> timedelta:
        """How long an access token is good at most."""
        named = [one.lifetime for one in self.resources.values() if one.lifetime is not None]
        return max(self.token.lifetime, LONGEST_OF_AN_APPLICATION, *named)

    @property
    def registry_url(self) -> str:
        """Where the other services reach the registry."""
        return self.registry.internal_url or f"http://127.0.0.1:{self.registry.port}"

    @property
    def token_url(self) -> str:
        """Where the other services reach the token service."""
        return self.token.internal_url or f"http://127.0.0.1:{self.token.port}"

    @property
    def notifier_url(self) -> str:
        """Where `oauthapps status` reaches the notifier."""
        return self.notifier.internal_url or f"http://127.0.0.1:{self.notifier.port}"


def with_port(settings: Settings, service: str, port: int | None) -> Settings:
    """Return the settings with another port of a service, for this process and its children.

    Its addresses follow: URL and issuer, unless they are configured.
    """
    if port is None:
        return settings
    os.environ[f"{ENVIRONMENT_PREFIX}{service.upper()}__PORT"] = str(port)
    section = getattr(settings, service).model_copy(update={"port": port})
    return settings.model_copy(update={service: section})


def load(
    config: Path | None = None,
    var: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings of a file, the environment and the command line's overrides.

    `config` defaults to `OAUTHAPPS_CONFIG`, then `config.yml`; `var` to `OAUTHAPPS_VAR`, then
    `var/`. Raises ConfigurationError with one line that names the setting and the remedy.
    """
    path = config or Path(os.environ.get(CONFIG_VARIABLE, "config.yml"))
    values = _read(path)
    _refuse_secrets(values, path)
    _refuse_unknown_variables()
    given = dict(overrides or {})
    given["config"] = path
    given["var"] = var or Path(os.environ.get(VAR_VARIABLE, "var"))
    try:
        settings = _with_files_in_var(_with_file(values)(**given), given["var"])
    except ValidationError as error:
        raise ConfigurationError(_one_line(error, path, given)) from None
    except Exception as error:  # noqa: BLE001 - its own class is not exported
        # pydantic-settings wraps a value that is not JSON where JSON is expected.
        message = f"environment: {' '.join(str(error).split())}"
        raise ConfigurationError(message) from None
    _check_resources(settings, path)
    if settings.notifier.keep < settings.notifier.max_event_age:
        # What is forgotten while its event is still young enough would be sent again.
        message = f"{path}: notifier.keep: must not be shorter than notifier.max_event_age"
        raise ConfigurationError(message)
    return settings


def _check_resources(settings: Settings, path: Path) -> None:
    """Refuse an API that no token could ever be for, or none of its scopes."""
    for name, resource in settings.resources.items():
        parts = urlsplit(name)
        if not parts.scheme or not (parts.netloc or parts.path) or "#" in name:
            message = f"{path}: resources.{name}: give a URI such as https://orders.example.com"
            raise ConfigurationError(message)
        for scope in resource.scopes or ():
            if scope not in settings.scopes:
                known = ", ".join(sorted(settings.scopes))
                message = f"{path}: resources.{name}.scopes: no scope {scope}; there are: {known}"
                raise ConfigurationError(message)


def _with_file(values: Mapping[str, Any]) -> type[Settings]:
    """Return Settings that take the command line first, then the environment, then the file."""

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not used here
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, dict(values))

    return FromFile


_Part = TypeVar("_Part", Settings, Section)


def _with_files_in_var(part: _Part, var: Path) -> _Part:
    """Let paths of such files count from `var`, so that whoever reads them need not know it."""
    changed: dict[str, Any] = {}
    for name, value in part:
        if isinstance(value, Section):
            changed[name] = _with_files_in_var(value, var)
        elif name in _FILES_IN_VAR and value is not None:
            changed[name] = var / value
    return part.model_copy(update=changed)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = (
            f"{path}: no such file; name the configuration with --config FILE or {CONFIG_VARIABLE}"
        )
        raise ConfigurationError(message) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        message = f"{path}: cannot be read ({reason}); check the file and its permissions"
        raise ConfigurationError(message) from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        message = f"{path}{place}: {problem}; correct the YAML"
        raise ConfigurationError(message) from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        message = f"{path}: must hold settings as `name: value`"
        raise ConfigurationError(message)
    return values


def _refuse_secrets(values: Mapping[Any, Any], path: Path, *above: str) -> None:
    """Refuse a secret in `config.yml`, which lies in repositories and is shown around."""
    for name, value in values.items():
        place = [*above, str(name)]
        if isinstance(value, Mapping):
            _refuse_secrets(value, path, *place)
        elif value is not None and name in _SECRETS:
            setting = ".".join(place)
            message = (
                f"{path}: {setting}: a secret must not stand here; give it as "
                f"{_variable(place)}, or in a file that {setting}_file names"
            )
            raise ConfigurationError(message)


def _refuse_unknown_variables() -> None:
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in Settings.model_fields}
    for variable in sorted(os.environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable.startswith(OTHER_PREFIXES):
            continue
        if variable.split("__")[0].upper() not in known:
            message = f"environment variable {variable}: no such setting; see config.yml"
            raise ConfigurationError(message)


def _one_line(error: ValidationError, path: Path, given: Mapping[str, Any]) -> str:
    """Say the first fault: where, what is wrong, what to do. Never the value: it may be secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = [str(part) for part in first["loc"]]
    setting = ".".join(place)
    variable = _variable(place)
    source = (
        f"environment variable {variable}" if _is_set(variable) else place_of(path, first["loc"])
    )
    if _is_given(given, place):
        source = "command line"
    if first["type"] == "extra_forbidden":
        names = ", ".join(_names_beside(place))
        return f"{source}: {setting}: no such setting; choose from: {names}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{source}: {setting}: {reason[0].lower()}{reason[1:]}"


def _variable(place: Sequence[str]) -> str:
    return ENVIRONMENT_PREFIX + "__".join(place).upper()


def _is_given(given: Mapping[str, Any], place: Sequence[str]) -> bool:
    value: Any = given
    for part in place:
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True


def _is_set(variable: str) -> bool:
    return any(name.upper() == variable for name in os.environ)


def _names_beside(place: list[str]) -> list[str]:
    model: Any = Settings
    for part in place[:-1]:
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ["what config.yml shows"]
        model = annotation
    return sorted(name for name in model.model_fields if name not in ("config", "var"))
