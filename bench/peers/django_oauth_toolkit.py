"""django-oauth-toolkit with its defaults: opaque tokens in a database, secrets hashed as passwords.

Installed into a virtual environment of its own under `build/`, from `requirements.txt` here; served
by gunicorn with one worker and SQLite.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from bench.house import free_port
from bench.load import wait_until_ready
from bench.token_service import SERVER_CORE

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PLACE = Path(__file__).parents[2] / "build" / "django-oauth-toolkit"
CLIENT = {"client_id": "bench", "client_secret": 43 * "s"}
SITE = """
import os
SECRET_KEY = os.urandom(32).hex()
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "addresses"
USE_TZ = True
"""
ADDRESSES = """
from django.http import HttpResponse
from django.urls import include, path
urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("ready", lambda request: HttpResponse("ready")),
]
"""
WSGI = """
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""


@contextlib.contextmanager
def served() -> Iterator[tuple[str, str]]:
    """Run it; yield the address of its token endpoint, and the form of a request."""
    python = _installed()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        site = Path(folder)
        for name, text in (("site_settings", SITE), ("addresses", ADDRESSES), ("site_wsgi", WSGI)):
            (site / f"{name}.py").write_text(text)
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "site_settings",
            "PYTHONPATH": folder,
        }
        for command in (
            ["migrate", "--verbosity", "0"],
            [
                *("createapplication", "confidential", "client-credentials"),
                *("--client-id", CLIENT["client_id"], "--client-secret", CLIENT["client_secret"]),
            ],
        ):
            subprocess.run(
                [python, "-m", "django", *command],
                cwd=site,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        port = free_port()
        process = subprocess.Popen(
            [
                *("taskset", "-c", SERVER_CORE, python, "-m", "gunicorn", "site_wsgi"),
                *("--workers", "1", "--worker-class", "gthread", "--threads", "4"),
                *("--bind", f"127.0.0.1:{port}", "--log-level", "error"),
            ],
            cwd=site,
            env=environment,
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}/ready", process)
            form = {"grant_type": "client_credentials", **CLIENT}
            yield f"http://127.0.0.1:{port}/o/token/", urlencode(form)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def _installed() -> str:
    """Return the interpreter of its virtual environment, made when it is first needed."""
    python = PLACE / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", PLACE], check=True)
    subprocess.run(
        [
            *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--require-hashes", "-r", REQUIREMENTS),
        ],
        check=True,
    )
    return str(python)
