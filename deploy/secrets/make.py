"""Makes the secrets of the stack, and gives each service its own: run before all else, each time.

    make.py SOURCE READERS DEFINITIONS

What is in the folder SOURCE is never changed. What it lacks is drawn there at random, but for what
is optional. From it the files of each reader are written, to a folder of READERS that is a volume
which it alone mounts. DEFINITIONS is what RabbitMQ is told, without passwords.
"""

import base64
import hashlib
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROLES = ("registry_owner", "registry", "notifier_owner", "notifier")
# Of RabbitMQ's password hashes: https://www.rabbitmq.com/docs/passwords
SALT_BYTES = 4


class NoSecret(Exception):
    """A secret is missing and cannot be made, or cannot be read."""


class Source:
    """The folder of all secrets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def secret(self, name: str) -> str:
        """Return a secret, drawn if there is none yet. Raises NoSecret."""
        file = self._folder / name
        try:
            if not file.exists():
                write(file, secrets.token_urlsafe(32), 0o400)
            found = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            user = os.getuid()
            message = f"{file}: {error.strerror}; put the secret there, readable for user {user}"
            raise NoSecret(message) from None
        if not found:
            message = f"{file}: empty; put the secret there, or remove the file to have one made"
            raise NoSecret(message)
        return found

    def given(self, name: str) -> str | None:
        """Return a secret that cannot be drawn, if it was given."""
        return self.secret(name) if (self._folder / name).exists() else None

    def database_url(self, database: str, role: str) -> str:
        """Return where a role reaches a database: the stack's own, unless another was given."""
        password = quote(self.secret(f"{role}_password"), safe="")
        url = f"postgresql://{role}:{password}@postgres/{database}"
        return self.given(f"{role}_database_url") or url

    def bus_url(self, user: str) -> str:
        """Return where a user reaches RabbitMQ: the stack's own, unless another was given."""
        password = quote(self.secret(f"{user}_bus_password"), safe="")
        return self.given(f"{user}_bus_url") or f"amqp://{user}:{password}@rabbitmq/"


def definitions(source: Source, template: Any, before: Any) -> str:
    """Return users and permissions for RabbitMQ, with hashes of their passwords."""
    known = {one["name"]: one["password_hash"] for one in before.get("users", ())}
    for user in template["users"]:
        # The same salt again, so that the same password is no change.
        salt = base64.b64decode(known.get(user["name"], ""))[:SALT_BYTES]
        salt = salt or secrets.token_bytes(SALT_BYTES)
        password = source.secret(f"{user['name']}_bus_password").encode()
        digest = hashlib.sha256(salt + password).digest()
        user["password_hash"] = base64.b64encode(salt + digest).decode()
        user["hashing_algorithm"] = "rabbit_password_hashing_sha256"
    return json.dumps(template, indent=1)


def files_of_readers(source: Source, told: str) -> dict[str, dict[str, str]]:
    """Return who reads what; `told` is what RabbitMQ is told."""
    credential = {"service_credential": source.secret("service_credential")}
    return {
        "postgres": {
            f"{one}_password": source.secret(f"{one}_password") for one in ("postgres", *ROLES)
        },
        "rabbitmq": {"definitions.json": told},
        "migrate": {
            **credential,
            "registry_database_url": source.database_url("registry", "registry_owner"),
            "notifier_database_url": source.database_url("notifier", "notifier_owner"),
        },
        "registry": {
            **credential,
            "database_url": source.database_url("registry", "registry"),
            "bus_url": source.bus_url("registry"),
        },
        "token": {**credential, "bus_url": source.bus_url("token")},
        "notifier": {
            **credential,
            "database_url": source.database_url("notifier", "notifier"),
            "bus_url": source.bus_url("notifier"),
            "smtp_password": source.given("smtp_password") or "",
        },
        "grafana": {"admin_password": source.secret("grafana_password")},
    }


def write(file: Path, content: str, mode: int) -> None:
    """Write a file that is there whole or not at all."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as target:
        target.write(content + "\n")
        target.flush()
        os.fsync(target.fileno())
    draft.replace(file)


def main(source: Path, readers: Path, template: Path) -> None:
    """Make what is missing and hand it out."""
    handed_out = readers / "rabbitmq" / "definitions.json"
    before = json.loads(handed_out.read_text("utf-8")) if handed_out.exists() else {}
    try:
        secret = Source(source)
        told = definitions(secret, json.loads(template.read_text("utf-8")), before)
        for reader, files in files_of_readers(secret, told).items():
            for name, content in files.items():
                # The volume is the reader's alone; as which user it reads is its image's business.
                write(readers / reader / name, content, 0o444)
    except NoSecret as error:
        sys.exit(f"secrets: {error}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
