"""The secrets of the containers: made once, handed out to those who need them, never changed."""

import json
from pathlib import Path

from tests.support.stack_secrets import contents_of, make_secrets


def test_they_are_made_once(tmp_path: Path) -> None:
    """The job runs at every start; what is in use by then stays as it is."""
    assert make_secrets(tmp_path).returncode == 0
    first = contents_of(tmp_path)
    assert make_secrets(tmp_path).returncode == 0

    assert contents_of(tmp_path) == first
    assert len(set(contents_of(tmp_path / "all").values())) == len(contents_of(tmp_path / "all"))


def test_each_service_gets_what_it_needs_and_no_more(tmp_path: Path) -> None:
    """Whoever reads the files of one service is let in nowhere else."""
    make_secrets(tmp_path)
    made = contents_of(tmp_path)

    def readers_of(name: str) -> set[str]:
        secret = made[f"all/{name}"]
        return {file.split("/")[0] for file, said in made.items() if secret in said} - {"all"}

    assert {name: readers_of(name) for name in contents_of(tmp_path / "all")} == {
        "postgres_password": {"postgres"},
        "registry_owner_password": {"postgres", "migrate"},
        "registry_password": {"postgres", "registry"},
        "notifier_owner_password": {"postgres", "migrate"},
        "notifier_password": {"postgres", "notifier"},
        # The broker gets hashes.
        "registry_bus_password": {"registry"},
        "token_bus_password": {"token"},
        "notifier_bus_password": {"notifier"},
        "subscriber_bus_password": set(),
        "service_credential": {"migrate", "registry", "token", "notifier"},
        "grafana_password": {"grafana"},
    }


def test_what_an_operator_brings_is_taken(tmp_path: Path) -> None:
    """Also where the database is another one, and whatever characters a password has."""
    given = {
        "token_bus_password": "with/slash@and%",
        "registry_database_url": "postgresql://me:secret@db.example.com/registry",
        "smtp_password": "hunter2",
    }
    (tmp_path / "all").mkdir()
    for name, content in given.items():
        (tmp_path / "all" / name).write_text(content)
    make_secrets(tmp_path)
    made = contents_of(tmp_path)

    assert given == {name: made[f"all/{name}"] for name in given}
    assert made["registry/database_url"] == given["registry_database_url"]
    assert made["notifier/smtp_password"] == "hunter2"
    assert made["token/bus_url"] == "amqp://token:with%2Fslash%40and%25@rabbitmq/"


def test_a_new_password_is_the_only_change(tmp_path: Path) -> None:
    """RabbitMQ then keeps all other users as they are."""
    make_secrets(tmp_path)
    before = contents_of(tmp_path)
    (tmp_path / "all" / "token_bus_password").unlink()
    make_secrets(tmp_path)
    after = contents_of(tmp_path)

    assert {name for name in after if after[name] != before[name]} == {
        "all/token_bus_password",
        "rabbitmq/definitions.json",
        "token/bus_url",
    }
    changed = zip(
        json.loads(before["rabbitmq/definitions.json"])["users"],
        json.loads(after["rabbitmq/definitions.json"])["users"],
        strict=True,
    )
    assert [new["name"] for old, new in changed if new != old] == ["token"]


def test_an_empty_secret_is_refused_by_name(tmp_path: Path) -> None:
    """A password of nothing would be one."""
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "registry_password").touch()
    refused = make_secrets(tmp_path)

    assert refused.returncode == 1
    assert "registry_password: empty" in refused.stderr
    assert contents_of(tmp_path / "postgres") == {}
