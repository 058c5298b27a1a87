"""The sections of `config.yml`, each setting with its type and its default."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shared import mail_rules
from shared.setting_values import (
    AmqpUrl,
    Collector,
    ConfigurationError,
    DnsName,
    Duration,
    DurationOrZero,
    HeaderName,
    Origins,
    Port,
    PostgresUrl,
    Proxies,
    check_amqp_url,
    check_postgres_url,
    secret,
)


class Section(BaseModel):
    """A part of the configuration: nothing unknown, nothing changed after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    return _secret_url(database.url, database.url_file, check_postgres_url)


def bus_url(bus: Bus) -> str | None:
    """Return the URL of RabbitMQ, None when there is none. Raises ConfigurationError."""
    return _secret_url(bus.url, bus.url_file, check_amqp_url)


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


class Server(Section):
    """How the three services answer: behind which proxies, and how they stop."""

    proxies: Proxies = ("127.0.0.1",)
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


class Telemetry(Section):
    """Traces, told to a collector; without one there are none."""

    otlp_endpoint: Collector = None
    otlp_headers: SecretStr | None = None
    otlp_headers_file: Path | None = None
    sampling_ratio: float = Field(default=1.0, ge=0, le=1)
