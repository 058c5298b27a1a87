"""The configuration: `config.yml`, each value overridable from the environment.

`OAUTHAPPS_TOKEN__MAX_STALENESS=10m` overrides `token.max_staleness`. Every setting has a default,
a type and a place in `config.yml`; whatever is wrong is one line that names the setting and the
remedy. Secrets come from the environment or from files, never from `config.yml` itself.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared import mail_rules
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
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
# Scheme, host or IPv6 address, port.
_ORIGIN = re.compile(
    r"([a-z][a-z0-9+.-]*)://(?:[a-z0-9_](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(\d{1,5}))?"
)
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names the setting and the remedy."""


class FileUnreadable(ConfigurationError):
    """A file that is named cannot be read; it may come late, and a service waits for it."""


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """Return a secret given by the environment or, if not there, by a file.

    Raises FileUnreadable, also when the file is empty.
    """
    if value is not None:
        return value.get_secret_value()
    if file is None:
        return None
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        message = f"secret file {file}: cannot be read ({reason}); check path and permissions"
        raise FileUnreadable(message) from None
    if not found:
        message = f"secret file {file}: is empty; write the secret into it"
        raise FileUnreadable(message)
    return found


def parse_duration(value: object) -> object:
    """Return `10m`, `1.5h`, `250ms` or a number of seconds as a timedelta."""
    if isinstance(value, timedelta):
        return value
    found = _DURATION.match(value) if isinstance(value, str) else None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return timedelta(seconds=value)
        if found is not None:
            return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except (OverflowError, ValueError):
        # YAML knows .inf, .nan and numbers longer than any calendar.
        pass
    message = "give a duration such as 250ms, 30s, 10m, 1h or 7d"
    raise ValueError(message)


def _url(*schemes: str, example: str) -> Callable[[SecretStr], SecretStr]:
    """Return the check of a URL that may hold a password: by its scheme, and without saying it."""

    def check(url: SecretStr) -> SecretStr:
        scheme, _, place = url.get_secret_value().partition("://")
        if scheme not in schemes or not place:
            message = f"give a URL such as {example}"
            raise ValueError(message)
        return url

    return check


_check_postgres_url = _url("postgresql", "postgres", example="postgresql://host/database")
_check_amqp_url = _url("amqp", "amqps", example="amqp://host/")
PostgresUrl = Annotated[SecretStr, AfterValidator(_check_postgres_url)]
AmqpUrl = Annotated[SecretStr, AfterValidator(_check_amqp_url)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(gt=timedelta(0))]
DurationOrZero = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A part of the configuration: nothing unknown, nothing changed after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _check_origin(origin: str) -> str:
    """Return an origin if a browser can ever send it: it is compared as it stands (RFC 6454)."""
    found = _ORIGIN.fullmatch(origin)
    if origin != "*" and found is None:
        message = (
            "give origins such as https://app.example.com or http://localhost:3000: in lower case, "
            'without a path and without a slash at the end; or "*" for all'
        )
        raise ValueError(message)
    if found is not None and found[2] is not None:
        port = int(found[2])
        if not 0 < port <= 65535 or port == {"http": 80, "https": 443}.get(found[1]):
            message = "leave out a port that goes without saying, and give none above 65535"
            raise ValueError(message)
    return origin


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in origins and len(origins) > 1:
        message = '"*" allows all origins: let it stand alone'
        raise ValueError(message)
    return origins


Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_check_origin)], ...], AfterValidator(_check_origins)
]
# Labels of letters, digits, hyphens and underscores, with dots between them.
DnsName = Annotated[
    str, Field(max_length=253, pattern=r"^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*$")
]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")]


class Cors(Section):
    """Which web pages may call, from the browser of whoever looks at them."""

    allow_origins: Origins = ()
    allow_headers: tuple[HeaderName, ...] = ()
    max_age: DurationOrZero = timedelta(minutes=10)


class RateLimits(Section):
    """What is allowed in a minute, to one client or from one address; 0 is no limit."""

    reads_per_minute: int = Field(default=6000, ge=0)
    writes_per_minute: int = Field(default=600, ge=0)
    failed_authentications_per_minute: int = Field(default=600, ge=0)


class Logins(Section):
    """How often somebody may try a password, for one account and from one address."""

    per_account_and_minute: int = Field(default=10, ge=1)
    per_address_and_minute: int = Field(default=60, ge=1)


class SessionTimes(Section):
    """When a login ends: unused, and in any case."""

    idle: Duration = timedelta(minutes=30)
    longest: Duration = timedelta(hours=12)


class SignIn(Section):
    """Sign-in with an identity provider (OpenID Connect); without an issuer there is none."""

    issuer: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    client_secret_file: Path | None = None
    label: str = "Sign in"
    organization: str | None = None
    administrator_claim: str | None = None
    administrator_values: tuple[str, ...] = ()
    passwords: bool = True


class Database(Section):
    """A Postgres database; without a URL the one that `oauthapps up` runs under `var/`."""

    url: PostgresUrl | None = None
    url_file: Path | None = None
    pool_size: int = Field(default=8, ge=2, le=200)
    command_timeout: Duration = timedelta(seconds=30)


class Bus(Section):
    """RabbitMQ; without a URL the services follow the registry's feed instead."""

    url: AmqpUrl | None = None
    url_file: Path | None = None
    confirm_window: int = Field(default=64, ge=1, le=10_000)
    publish_timeout: Duration = timedelta(seconds=10)


def database_url(database: Database) -> str | None:
    """Return the URL of a database, None when there is none. Raises ConfigurationError."""
    return _secret_url(database.url, database.url_file, _check_postgres_url)


def bus_url(bus: Bus) -> str | None:
    """Return the URL of RabbitMQ, None when there is none. Raises ConfigurationError."""
    return _secret_url(bus.url, bus.url_file, _check_amqp_url)


def _secret_url(
    value: SecretStr | None, file: Path | None, check: Callable[[SecretStr], SecretStr]
) -> str | None:
    found = secret(value, file)
    if found is not None:
        try:
            check(SecretStr(found))
        except ValueError as error:
            message = f"secret file {file}: {error}"
            raise ConfigurationError(message) from None
    return found


class Internal(Section):
    """How the services recognise each other."""

    credential_file: Path = Path("service_credential")


class Scope(Section):
    """A scope that applications may be given."""

    description: str
    administrators_only: bool = False


class Resource(Section):
    """An API that access tokens can be asked for by name (RFC 8707); no scopes are all."""

    scopes: tuple[str, ...] | None = None
    lifetime: Duration | None = None


class FailureLimits(Section):
    """How many wrong credentials are looked at in a minute; 0 is no limit."""

    per_client_and_minute: int = Field(default=60, ge=0)
    per_address_and_minute: int = Field(default=600, ge=0)


class Registry(Section):
    """The registry: pages, REST API, log and feeds."""

    host: str = "127.0.0.1"
    port: Port = 8001
    public_url: str | None = None
    internal_url: str | None = None
    database: Database = Database()
    default_scopes: tuple[str, ...] = ("applications:read",)
    secret_overlap: DurationOrZero = timedelta(days=1)
    usage_keep: Duration = timedelta(days=90)
    max_body: int = Field(default=65_536, ge=1024)
    batch_commands: int = Field(default=200, ge=1, le=1000)
    batch_delay: Duration = timedelta(milliseconds=2)
    idempotency_keep: Duration = timedelta(days=1)
    rate_limits: RateLimits = RateLimits()
    cors: Cors = Cors()
    logins: Logins = Logins()
    sessions: SessionTimes = SessionTimes()
    sign_in: SignIn = SignIn()


class Token(Section):
    """The token service: projection, credentials, signatures."""

    host: str = "127.0.0.1"
    port: Port = 8002
    issuer: str | None = None
    internal_url: str | None = None
    audience: str | None = None
    lifetime: Duration = timedelta(hours=1)
    max_staleness: Duration = timedelta(hours=1)
    private_key: Path = Path("oauth_private.key")
    public_key: Path = Path("oauth_public.key")
    rotation_ahead: DurationOrZero = timedelta(minutes=10)
    projection: Path = Path("projection")
    projection_map_size: int = Field(default=4 * 2**30, ge=2**20)
    realm: str = "oauthapps"
    workers: int = Field(default=1, ge=1, le=256)
    max_body: int = Field(default=16_384, ge=1024)
    body_timeout: Duration = timedelta(seconds=10)
    catch_up_timeout: Duration = timedelta(seconds=1)
    catch_ups_per_second: float = Field(default=20, gt=0)
    usage_interval: Duration = timedelta(seconds=10)
    usage_entries: int = Field(default=20_000, ge=1)
    report_addresses: bool = False
    failures: FailureLimits = FailureLimits()
    assertion_lifetime: Duration = timedelta(hours=1)
    dpop_nonce: bool = False
    dpop_lifetime: Duration = timedelta(minutes=1)
    cors: Cors = Cors()


class Smtp(Section):
    """The mail server that takes our mail."""

    host: str = "127.0.0.1"
    port: Port = 1025
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: Literal["none", "starttls", "tls"] = "none"
    ca_file: Path | None = None
    timeout: Duration = timedelta(seconds=30)
    # RFC 1047: what is cut off here can leave a mail that was taken and is sent again.
    answer_timeout: Duration = timedelta(minutes=10)


class Dkim(Section):
    """How mail is signed (RFC 6376); without a selector it is not. No domain is the sender's."""

    selector: DnsName | None = None
    domain: DnsName | None = None
    private_key_file: Path | None = None


class Notifier(Section):
    """The notifier: rules, deliveries, mail."""

    host: str = "127.0.0.1"
    port: Port = 8003
    public_url: str | None = None
    internal_url: str | None = None
    database: Database = Database()
    sender_address: str = "oauthapps@localhost"
    sender_name: str = "OAuth Applications"
    message_id_domain: str = "oauthapps.localhost"
    list_id: DnsName | None = None
    dkim: Dkim = Dkim()
    smtp: Smtp = Smtp()
    senders: int = Field(default=2, ge=1, le=64)
    lease: Duration = timedelta(minutes=15)
    retry_first: Duration = timedelta(seconds=15)
    retry_longest: Duration = timedelta(hours=4)
    give_up_after: Duration = timedelta(days=3)
    unknown_outcome: Literal["retry", "park"] = "retry"
    max_event_age: Duration = timedelta(days=3)
    keep: Duration = timedelta(days=90)
    templates: Path = Path("templates")
    # What a rule may say is known by services/notifier/rules.py.
    rules: dict[str, Any] = mail_rules.SHIPPED


def _check_proxies(proxies: tuple[str, ...]) -> tuple[str, ...]:
    for one in proxies:
        with suppress(ValueError):
            ip_network(one)
            continue
        if one != "*" and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", one):
            message = 'give addresses, networks such as 10.0.0.0/8, host names, or "*" for all'
            raise ValueError(message)
    return proxies


class Server(Section):
    """How the three services answer: behind which proxies, and how they stop."""

    proxies: Annotated[tuple[str, ...], AfterValidator(_check_proxies)] = ("127.0.0.1",)
    # With what an end takes besides, within the ten seconds that Docker waits for it.
    drain: Annotated[DurationOrZero, Field(le=timedelta(seconds=30))] = timedelta(0)


class Subscription(Section):
    """How token service and notifier follow the registry's log."""

    page_size: int = Field(default=5000, ge=1, le=10_000)
    long_poll: Duration = timedelta(seconds=20)
    head_check: Duration = timedelta(seconds=1)
    retry_first: Duration = timedelta(milliseconds=100)
    retry_longest: Duration = timedelta(seconds=5)


class Logs(Section):
    """What is written to standard error, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


def _check_collector(url: str | None) -> str | None:
    if not url:
        return None
    with suppress(ValueError):
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if is_address and "@" not in parts.netloc and not parts.query and not parts.fragment:
            return url.rstrip("/")
    message = (
        "give the address of a collector that takes OTLP over HTTP, such as "
        "http://collector:4318; what it wants to know of us goes to telemetry.otlp_headers_file"
    )
    raise ValueError(message)


class Telemetry(Section):
    """Traces, told to a collector; without one there are none."""

    # Empty as good as none: so it is passed on where a variable is not set.
    otlp_endpoint: Annotated[str | None, AfterValidator(_check_collector)] = None
    otlp_headers: SecretStr | None = None
    otlp_headers_file: Path | None = None
    sampling_ratio: float = Field(default=1.0, ge=0, le=1)


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
