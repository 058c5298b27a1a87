"""Whether traces are exported, and where."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.config import Settings, load
from shared.sections import Telemetry
from shared.setting_values import ConfigurationError
from shared.tracing import OFF
from shared.tracing_setup import tracing_of

CONFIG = Path(__file__).parents[3] / "config.yml"
COLLECTOR = "http://collector:4318"
WITHOUT = """
import sys
from shared.config import Settings
from shared.tracing_setup import tracing_of
import services.notifier.app, services.registry.app, services.token.app
tracing_of(Settings(), "registry")
sys.exit(any(one.startswith("opentelemetry") for one in sys.modules))
"""


def test_without_a_collector_the_library_is_not_even_loaded() -> None:
    """Whoever wants no traces pays nothing for them."""
    assert tracing_of(Settings(), "registry") is OFF
    assert subprocess.run([sys.executable, "-c", WITHOUT], check=False).returncode == 0


def test_an_empty_address_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a variable is that is passed on and was not set."""
    monkeypatch.setenv("OAUTHAPPS_TELEMETRY__OTLP_ENDPOINT", "")
    assert load(CONFIG).telemetry.otlp_endpoint is None


@pytest.mark.parametrize(
    "given",
    [
        "collector:4318",
        "grpc://collector:4317",
        "http://",
        "http://user:secret-word@collector:4318",
        "http://collector:4318?token=secret-word",
        "http://collector:port",
    ],
)
def test_an_address_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """In one line with the remedy, and without what may be a password."""
    monkeypatch.setenv("OAUTHAPPS_TELEMETRY__OTLP_ENDPOINT", given)
    with pytest.raises(ConfigurationError, match="http://collector:4318") as refused:
        load(CONFIG)
    assert "OAUTHAPPS_TELEMETRY__OTLP_ENDPOINT" in str(refused.value)
    assert "secret-word" not in str(refused.value)


@pytest.mark.parametrize("given", ["1.5", "-0.1", "nan", "all"])
def test_a_share_is_from_0_to_1(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """There is no more than all."""
    monkeypatch.setenv("OAUTHAPPS_TELEMETRY__SAMPLING_RATIO", given)
    with pytest.raises(ConfigurationError, match="SAMPLING_RATIO"):
        load(CONFIG)


def test_headers_stand_one_in_a_line(tmp_path: Path) -> None:
    """A line that is none is named by its number, and never shown."""
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer x\nsecret-word\n")
    settings = Settings(telemetry=Telemetry(otlp_endpoint=COLLECTOR, otlp_headers_file=file))
    with pytest.raises(ConfigurationError, match="line 2") as refused:
        tracing_of(settings, "registry")
    assert "secret-word" not in str(refused.value)


def test_headers_may_come_from_the_environment() -> None:
    """As every secret may."""
    headers = SecretStr("Authorization: Bearer x")
    settings = Settings(telemetry=Telemetry(otlp_endpoint=COLLECTOR, otlp_headers=headers))

    assert tracing_of(settings, "registry").is_on
