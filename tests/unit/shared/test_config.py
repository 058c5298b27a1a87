"""The configuration: whatever is wrong is one line that names the setting and the remedy."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.config import Settings, load
from shared.setting_values import ConfigurationError, parse_duration, secret

ROOT = Path(__file__).parents[3]
PASSWORD = "hunter2hunter2"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.upper().startswith("OAUTHAPPS_"):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An empty configuration: every default."""
    path = tmp_path / "config.yml"
    path.write_text("")
    return path


def wrong(path: Path, **overrides: Any) -> str:
    """Return the one line that loading says."""
    with pytest.raises(ConfigurationError) as caught:
        load(path, overrides=overrides or None)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_the_file_we_ship_shows_every_setting_with_its_default() -> None:
    """It is the reference: what is not in it does not exist, and nothing in it is wrong."""
    shown = yaml.safe_load((ROOT / "config.yml").read_text())
    defaults = Settings().model_dump(mode="json")
    # Given by environment or file only, so that nobody writes one here.
    for database in (defaults["registry"], defaults["notifier"]):
        del database["database"]["url"]
    del defaults["bus"]["url"], defaults["notifier"]["smtp"]["password"]
    del defaults["registry"]["sign_in"]["client_secret"]
    del defaults["telemetry"]["otlp_headers"]

    assert load(ROOT / "config.yml").model_dump() == Settings().model_dump()
    assert _names(shown) == _names(defaults)


def _names(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _names(inner) for name, inner in value.items()}
    return None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "token:\n  max_stalenes: 10m\n",
            ["token.max_stalenes", "no such setting", "max_staleness"],
        ),
        ("tokens:\n  lifetime: 1h\n", ["tokens: no such setting", "choose from", "token"]),
        ("token:\n  workers: many\n", ["token.workers", "integer"]),
        ("token:\n  workers: 0\n", ["token.workers", "greater than or equal to 1"]),
        ("token: 7\n", ["token:"]),
        ("token:\n  lifetime: soon\n", ["token.lifetime", "10m"]),
        ("token:\n  lifetime: 0s\n", ["token.lifetime", "greater than"]),
        ("token:\n  lifetime: -1\n", ["token.lifetime", "greater than"]),
        ("token:\n  lifetime: true\n", ["token.lifetime", "10m"]),
        ("registry:\n  port: 70000\n", ["registry.port", "65535"]),
        ("notifier:\n  smtp:\n    tls: maybe\n", ["notifier.smtp.tls", "'starttls'"]),
        ("logs:\n  level: loud\n", ["logs.level", "'debug'"]),
        ("a: [\n", ["line 2", "correct the YAML"]),
        ("a: 'b\n", ["correct the YAML"]),
        ("a: b: c\n", ["line 1", "correct the YAML"]),
        ("\tx: 1\n", ["line 1", "correct the YAML"]),
        ("a: \x00\n", ["correct the YAML"]),
        ("- token\n", ["name: value"]),
        ("hello\n", ["name: value"]),
        ("7: 8\n", ["name: value"]),
        ("token:\n  7: 8\n", ["token.7", "keys should be strings"]),
        ("scopes:\n  a:\n    descriptio: x\n", ["scopes.a"]),
    ],
)
def test_a_fault_in_the_file_is_one_line_with_file_setting_and_remedy(
    config: Path, text: str, says: list[str]
) -> None:
    """An operator reads it at night."""
    config.write_text(text)

    line = wrong(config)

    assert str(config) in line
    assert [part for part in says if part not in line] == [], line


def test_a_fault_names_its_line(config: Path) -> None:
    """In a long file the setting alone has to be searched for."""
    config.write_text("logs:\n  level: info\n\ntoken:\n  port: 1\n  lifetime: soon\n")

    assert wrong(config).startswith(f"{config}, line 6: token.lifetime: ")


def test_a_missing_file_is_named_with_the_ways_to_name_another(tmp_path: Path) -> None:
    """A typo in --config must not mean the defaults."""
    line = wrong(tmp_path / "none.yml")

    assert "none.yml" in line
    assert "--config" in line
    assert "OAUTHAPPS_CONFIG" in line


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    """A folder and a binary are files of the wrong kind."""
    binary = tmp_path / "binary.yml"
    binary.write_bytes(b"\xff\xfe\x00")

    assert "cannot be read" in wrong(tmp_path)
    assert "not UTF-8" in wrong(binary)


def test_an_unknown_variable_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the default would be used and nobody would know."""
    monkeypatch.setenv("OAUTHAPPS_TOKN__LIFETIME", "1h")

    assert "OAUTHAPPS_TOKN__LIFETIME: no such setting" in wrong(config)


@pytest.mark.parametrize(
    "variable", ["OAUTHAPPS_TOKEN__MAX_STALENES", "OAUTHAPPS_BUS__CONFIRM_WINDOWS"]
)
def test_an_unknown_variable_within_a_section_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Likewise, one level deeper, with what there is."""
    monkeypatch.setenv(variable, "1")

    line = wrong(config)

    assert variable in line
    assert "choose from" in line


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OAUTHAPPS_TOKEN__LIFETIME", "soon"),
        ("OAUTHAPPS_REGISTRY__PORT", "http"),
        ("OAUTHAPPS_NOTIFIER__SMTP__TLS", "maybe"),
    ],
)
def test_a_wrong_value_of_a_variable_names_the_variable(
    config: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The file is not where to look then."""
    monkeypatch.setenv(variable, value)

    assert f"environment variable {variable}" in wrong(config)


def test_a_section_that_is_not_json_is_one_line(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole section may be given as JSON, and then it may be broken."""
    monkeypatch.setenv("OAUTHAPPS_TOKEN", "{")

    assert "token" in wrong(config)


def test_command_line_goes_before_environment_before_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearer to the start, the stronger; and one value leaves its neighbours alone."""
    config.write_text("token:\n  port: 1\n  workers: 1\n  realm: file\n  lifetime: 5m\n")
    monkeypatch.setenv("OAUTHAPPS_TOKEN__PORT", "2")
    monkeypatch.setenv("OAUTHAPPS_TOKEN__WORKERS", "2")

    token = load(config, overrides={"token": {"port": 3}}).token

    assert (token.port, token.workers, token.realm) == (3, 2, "file")
    assert token.lifetime == timedelta(minutes=5)


def test_config_and_var_come_from_the_environment(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container has no command line of its own."""
    config.write_text("token:\n  realm: here\n")
    monkeypatch.setenv("OAUTHAPPS_CONFIG", str(config))
    monkeypatch.setenv("OAUTHAPPS_VAR", str(tmp_path / "state"))

    settings = load()

    assert settings.token.realm == "here"
    assert settings.in_var(Path("oauth_private.key")) == tmp_path / "state" / "oauth_private.key"
    assert settings.in_var(Path("/etc/key")) == Path("/etc/key")


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("10m", 600),
        ("1.5h", 5400),
        ("7d", 604_800),
        (12, 12),
        (0.5, 0.5),
        (timedelta(seconds=3), 3),
    ],
)
def test_durations_are_what_people_write(given: object, seconds: float) -> None:
    """Number and unit, or seconds."""
    assert timedelta(seconds=seconds) == parse_duration(given)


@pytest.mark.parametrize(
    "given", ["10", "10 m", "m", "", "-1s", "1e3s", "1w", "PT1H", None, [], True]
)
def test_what_is_no_duration_is_refused_with_examples(given: object) -> None:
    """A guess would be an hour where a minute was meant."""
    with pytest.raises(ValueError, match="10m"):
        parse_duration(given)


@pytest.mark.parametrize("number", [".inf", ".nan", "1e300"])
def test_a_duration_that_no_clock_can_hold_is_one_line(config: Path, number: str) -> None:
    """YAML has such numbers."""
    config.write_text(f"token:\n  lifetime: {number}\n")

    assert "token.lifetime" in wrong(config)


@pytest.mark.parametrize(
    "text",
    [
        f"bus:\n  url: [{PASSWORD}]\n",
        f"bus:\n  urls: amqp://a:{PASSWORD}@b\n",
        f"token:\n  lifetime: {PASSWORD}\n",
        f"bus: {PASSWORD}\n",
    ],
)
def test_no_value_stands_in_a_message(config: Path, text: str) -> None:
    """It may be a secret that landed in the wrong place."""
    config.write_text(text)

    assert PASSWORD not in wrong(config)


@pytest.mark.parametrize("variable", ["OAUTHAPPS_BUS", "OAUTHAPPS_NOTIFIER"])
def test_no_value_of_a_variable_stands_in_a_message(
    config: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Likewise."""
    monkeypatch.setenv(variable, f'{{"url": "{PASSWORD}"')

    assert PASSWORD not in wrong(config)


@pytest.mark.parametrize(
    ("text", "variable", "file"),
    [
        (f"bus: {{url: 'amqp://a:{PASSWORD}@b'}}\n", "OAUTHAPPS_BUS__URL", "bus.url_file"),
        (
            f"registry: {{database: {{url: 'postgresql://a:{PASSWORD}@b/c'}}}}\n",
            "OAUTHAPPS_REGISTRY__DATABASE__URL",
            "registry.database.url_file",
        ),
        (
            f"notifier: {{smtp: {{password: {PASSWORD}}}}}\n",
            "OAUTHAPPS_NOTIFIER__SMTP__PASSWORD",
            "notifier.smtp.password_file",
        ),
    ],
)
def test_a_secret_in_the_file_is_refused_with_where_it_belongs(
    config: Path, text: str, variable: str, file: str
) -> None:
    """The file lies in repositories and is shown around."""
    config.write_text(text)

    line = wrong(config)

    assert [part for part in (str(config), variable, file) if part not in line] == [], line
    assert PASSWORD not in line


@pytest.mark.parametrize(
    ("variable", "value", "example"),
    [
        ("OAUTHAPPS_BUS__URL", f"http://a:{PASSWORD}@b/", "amqp://"),
        ("OAUTHAPPS_BUS__URL", "amqp://", "amqp://host/"),
        ("OAUTHAPPS_BUS__URL", "", "amqp://"),
        ("OAUTHAPPS_REGISTRY__DATABASE__URL", PASSWORD, "postgresql://"),
        ("OAUTHAPPS_NOTIFIER__DATABASE__URL", f"mysql://a:{PASSWORD}@b/", "postgresql://"),
    ],
)
def test_a_url_of_something_else_is_refused_with_an_example(
    config: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, example: str
) -> None:
    """Otherwise it is tried for ever, as if the server were away."""
    monkeypatch.setenv(variable, value)

    line = wrong(config)

    assert f"environment variable {variable}" in line
    assert example in line
    assert PASSWORD not in line


def test_a_wrong_value_of_the_command_line_is_not_laid_to_the_file(config: Path) -> None:
    """The file is not where to look then, nor is a variable that the command line overrides."""
    line = wrong(config, bus={"url": "localhost"})

    assert line.startswith("command line: bus.url: ")
    assert str(config) not in line


def test_a_secret_does_not_show(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are printed when something is wrong with them."""
    monkeypatch.setenv("OAUTHAPPS_BUS__URL", f"amqp://a:{PASSWORD}@b")

    settings = load(config)

    assert PASSWORD not in repr(settings)
    assert PASSWORD not in settings.model_dump_json()
    assert f"amqp://a:{PASSWORD}@b" == secret(settings.bus.url, settings.bus.url_file)


def test_a_secret_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    """Editors add one."""
    file = tmp_path / "url"
    file.write_text(f"amqp://a:{PASSWORD}@b\n")

    assert f"amqp://a:{PASSWORD}@b" == secret(None, file)
    assert secret(None, None) is None


def test_a_secret_file_counts_from_the_state_folder(config: Path, tmp_path: Path) -> None:
    """Like every path, wherever the program was started; an absolute one stays where it is."""
    settings = load(
        config,
        tmp_path,
        {
            "registry": {"database": {"url_file": "registry_url"}},
            "notifier": {"smtp": {"password_file": "/run/secrets/smtp"}},
        },
    )

    assert settings.registry.database.url_file == tmp_path / "registry_url"
    assert settings.notifier.smtp.password_file == Path("/run/secrets/smtp")
    assert settings.bus.url_file is None


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Never guess that there is no password."""
    file = tmp_path / "url"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        secret(None, file)
    assert str(file) in str(caught.value)


def test_addresses_follow_the_ports_unless_they_are_given(config: Path) -> None:
    """`up` on other ports needs nothing else."""
    moved = load(config, overrides={"registry": {"port": 1}, "token": {"port": 2}})
    given = load(
        config,
        overrides={"registry": {"public_url": "https://r"}, "token": {"issuer": "https://t"}},
    )

    assert (moved.public_url, moved.issuer) == ("http://localhost:1", "http://localhost:2")
    assert (moved.registry_url, moved.token_url) == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert moved.audience == "http://localhost:1"
    assert (given.public_url, given.audience, given.issuer) == (
        "https://r",
        "https://r",
        "https://t",
    )


@pytest.mark.parametrize(
    "origin",
    ["*", "https://app.example.com", "http://localhost:3000", "http://[::1]:8080", "app://x"],
)
def test_an_origin_is_what_a_browser_sends(config: Path, origin: str) -> None:
    """Compared character by character, so it must be written as it is sent."""
    config.write_text(f"registry: {{cors: {{allow_origins: ['{origin}']}}}}\n")

    assert load(config).registry.cors.allow_origins == (origin,)


@pytest.mark.parametrize(
    ("origins", "remedy"),
    [
        ("['https://app.example.com/']", "without a slash"),
        ("['https://app.example.com/page']", "without a path"),
        ("['app.example.com']", "such as https://"),
        ("['HTTPS://app.example.com']", "lower case"),
        ("['https://App.example.com']", "lower case"),
        ("['null']", "such as https://"),
        ("['https://*.example.com']", "such as https://"),
        ("['https://app.example.com:443']", "leave out a port"),
        ("['http://localhost:80']", "leave out a port"),
        ("['http://localhost:70000']", "65535"),
        ("['*', 'https://app.example.com']", "stand alone"),
    ],
)
def test_an_origin_that_no_browser_sends_is_one_line(
    config: Path, origins: str, remedy: str
) -> None:
    """It would never match, and nobody would see why."""
    config.write_text(f"registry: {{cors: {{allow_origins: {origins}}}}}\n")

    message = wrong(config)
    assert "registry.cors.allow_origins" in message
    assert remedy in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ({"orders": {}}, "give a URI such as https://orders.example.com"),
        ({"https://orders.example#x": {}}, "give a URI"),
        (
            {"https://orders.example": {"scopes": ["applications:raed"]}},
            "no scope applications:raed",
        ),
        ({"https://orders.example": {"lifetime": "soon"}}, "give a duration"),
        ({"https://orders.example": {"scope": []}}, "scope"),
    ],
)
def test_a_resource_that_could_never_be_asked_for_is_refused(
    config: Path, resources: Any, says: str
) -> None:
    """A typo there would otherwise be a token without a scope, some day."""
    config.write_text(yaml.safe_dump({"resources": resources}))

    assert says in wrong(config)
    config.write_text(yaml.safe_dump({"resources": {"urn:orders": {"lifetime": "10m"}}}))
    assert set(load(config).resources) == {"urn:orders"}


def test_deliveries_are_kept_while_their_events_are_young(config: Path) -> None:
    """Else the mail of an event that is read again would be sent again."""
    config.write_text(yaml.safe_dump({"notifier": {"keep": "1d"}}))
    with pytest.raises(ConfigurationError, match=r"notifier\.keep.*max_event_age"):
        load(config)
    config.write_text(yaml.safe_dump({"notifier": {"keep": "1d", "max_event_age": "1d"}}))
    load(config)


@pytest.mark.parametrize("list_id", ["a b", "apps\r\nBcc: x", "<a.b>", "a..b", ""])
def test_a_list_is_named_like_a_domain(config: Path, list_id: str) -> None:
    """It becomes a header."""
    config.write_text(yaml.safe_dump({"notifier": {"list_id": list_id}}))
    with pytest.raises(ConfigurationError, match=r"notifier\.list_id"):
        load(config)
