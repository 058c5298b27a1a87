"""The signing keys on Kubernetes: from a Secret to the token service, and through a rotation."""

import base64
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from services.token import key_ring
from services.token.key_ring import KeyRing
from services.token.keys import generate
from services.token.rotation import KeyPlaces
from tests.support.eventually import eventually
from tests.unit.deploy.conftest import ROOT

COPY_KEYS = ROOT / "deploy/kubernetes/base/copy-keys"
ROTATE_KEYS = ROOT / "deploy/kubernetes/rotate-keys"
PRIVATE, PUBLIC = "oauth_private.key", "oauth_public.key"


class Secret:
    """A Secret's folder, as the kubelet makes and changes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = 0
        folder.mkdir()

    def bring(self, files: dict[str, bytes]) -> None:
        """Put other files in the place of those that are there, all at once."""
        data, before = self.folder / "..data", None
        if data.is_symlink():
            before = data.resolve()
        self._versions += 1
        version = self.folder / f"..2026_11_25_{self._versions}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_bytes(content)
            (version / name).chmod(0o440)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        self.point_to(version.name)
        if before is not None and before.exists():
            shutil.rmtree(before)

    def point_to(self, version: str) -> None:
        """Let the link say which files count."""
        (self.folder / "..data_tmp").symlink_to(version)
        (self.folder / "..data_tmp").replace(self.folder / "..data")


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what goes into the Secret."""
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.suffix != ".lock"}


@contextmanager
def copying(secret: Path, copy: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the container beside the service."""
    process = subprocess.Popen(["sh", COPY_KEYS, secret, copy, "0.05"], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def operator(tmp_path: Path) -> KeyPlaces:
    """Keys in a folder of the operator's own."""
    places = KeyPlaces(tmp_path / "own" / PRIVATE, tmp_path / "own" / PUBLIC)
    generate(places.private, places.public, "ES256")
    return places


@pytest.fixture
def secret(tmp_path: Path, operator: KeyPlaces) -> Secret:
    """The Secret, with them in it."""
    secret = Secret(tmp_path / "secret")
    secret.bring(files_of(operator.private.parent))
    return secret


@pytest.fixture
def copy(tmp_path: Path, secret: Secret) -> Iterator[Path]:
    """The folder that the service reads."""
    folder = tmp_path / "copy"
    folder.mkdir()
    with copying(secret.folder, folder):
        yield folder


def ring_of(copy: Path, clock: datetime) -> KeyRing:
    return KeyRing(copy / "current" / PRIVATE, copy / "current" / PUBLIC, clock=lambda: clock)


async def test_the_service_takes_the_copy_and_not_the_secret(secret: Secret, copy: Path) -> None:
    """That is what the copy is for: its private key is 0600."""
    now = datetime.now(UTC)
    await eventually((copy / "current").exists)

    assert ring_of(copy, now).current() is not None
    assert stat.S_IMODE((copy / "current" / PRIVATE).stat().st_mode) == 0o600
    mounted = KeyRing(secret.folder / PRIVATE, secret.folder / PUBLIC)
    assert mounted.current() is None
    assert "open to others (mode 0440)" in (mounted.trouble or "")


async def test_a_rotation_reaches_the_service_by_the_secret(
    secret: Secret, copy: Path, operator: KeyPlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next key is published, signs when its turn comes, and gives way to another one."""
    monkeypatch.setattr(key_ring, "LOOK_SECONDS", 0.0)
    # The service cannot write there; as root the test could.
    monkeypatch.setattr(KeyPlaces, "finish", lambda *_: None)
    now, ahead = datetime.now(UTC), timedelta(minutes=10)
    await eventually((copy / "current").exists)
    first = ring_of(copy, now).current()
    kids = [first.kid if first else ""]
    for _ in range(2):
        plan = operator.rotate(algorithm=None, ahead=ahead, lifetime=ahead, now=now)
        assert plan.successor is not None
        kids.append(plan.successor.kid)
        secret.bring(files_of(operator.private.parent))
        following = kids[-1]
        await eventually(lambda: following in _published(ring_of(copy, now)))  # noqa: B023 - within
        current = ring_of(copy, now).current()
        assert current is not None
        assert current.kid == kids[-2]
        now += ahead
        current = ring_of(copy, now).current()
        assert current is not None
        assert current.kid == kids[-1]

    # The copy of before is taken away once the link has left it.
    left = {"current", (secret.folder / "..data").readlink().name}
    await eventually(lambda: {one.name for one in copy.iterdir()} == left)


def _published(ring: KeyRing) -> list[str]:
    return [str(one["kid"]) for one in ring.published()]


async def test_files_that_are_taken_away_meanwhile_change_nothing(
    secret: Secret, copy: Path, operator: KeyPlaces
) -> None:
    """Half a copy would be a service without keys."""
    await eventually((copy / "current").exists)
    before = (copy / "current").readlink()
    secret.point_to("..gone")
    await eventually((copy / "draft").exists)

    assert (copy / "current").readlink() == before
    assert ring_of(copy, datetime.now(UTC)).current() is not None
    secret.bring(files_of(operator.private.parent))
    await eventually(lambda: (copy / "current").readlink() != before)


async def test_a_container_that_is_started_again_goes_on(
    secret: Secret, copy: Path, tmp_path: Path, operator: KeyPlaces
) -> None:
    """The folder outlives it."""
    await eventually((copy / "current").exists)
    with copying(secret.folder, copy) as again:
        operator.rotate(
            algorithm=None, ahead=timedelta(0), lifetime=timedelta(0), now=datetime.now(UTC)
        )
        secret.bring(files_of(operator.private.parent))
        name = (secret.folder / "..data").readlink()
        await eventually(lambda: (copy / "current").readlink() == name)
        again.terminate()

        assert again.wait() == 0


class Cluster:
    """As much of the API as kubectl asks for: one Secret, and the refusal of a stale version."""

    def __init__(self, data: dict[str, bytes]) -> None:
        self.secret: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {"name": "keys", "namespace": "oauthapps", "resourceVersion": "41"},
            "data": {name: base64.b64encode(content).decode() for name, content in data.items()},
        }
        self.overtaken = False

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return status and body."""
        match method, path:
            case "GET", "/api":
                return 200, {"kind": "APIVersions", "versions": ["v1"]}
            case "GET", "/apis":
                return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}
            case "GET", "/api/v1":
                kind = {"name": "secrets", "namespaced": True, "kind": "Secret"}
                verbs = {"singularName": "secret", "verbs": ["get", "update"]}
                return 200, {"groupVersion": "v1", "resources": [{**kind, **verbs}]}
            case "GET", "/api/v1/namespaces/oauthapps/secrets/keys":
                return 200, self.secret
            case "PUT", "/api/v1/namespaces/oauthapps/secrets/keys":
                if self.overtaken:
                    self.secret["metadata"]["resourceVersion"] = "42"
                if (
                    body["metadata"]["resourceVersion"]
                    != self.secret["metadata"]["resourceVersion"]
                ):
                    reason = {"kind": "Status", "status": "Failure", "reason": "Conflict"}
                    return 409, {**reason, "code": 409}
                self.secret = {**body, "metadata": {**body["metadata"], "resourceVersion": "43"}}
                return 200, self.secret
        return 404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}

    @property
    def files(self) -> dict[str, bytes]:
        """What is in the Secret."""
        return {name: base64.b64decode(value) for name, value in self.secret["data"].items()}


@contextmanager
def serving(cluster: Cluster) -> Iterator[str]:
    """Answer kubectl; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_PUT(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: Any) -> None:
            status, found = cluster.answer(self.command, self.path.partition("?")[0], body)
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def rotate_keys(address: str, home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the script with kubectl and oauthapps of this environment."""
    configuration = home / "kubeconfig"
    cluster = {"name": "here", "cluster": {"server": address}}
    context = {"name": "here", "context": {"cluster": "here", "user": "", "namespace": ""}}
    configuration.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [cluster],
                "contexts": [context],
                "current-context": "here",
            }
        )
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    temporary = home / "temporary"
    temporary.mkdir(exist_ok=True)
    result = subprocess.run(
        ["bash", ROTATE_KEYS, "oauthapps", *arguments],
        cwd=ROOT,
        env={
            "PATH": path,
            "HOME": str(home),
            "KUBECONFIG": str(configuration),
            "TMPDIR": str(temporary),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert list(temporary.iterdir()) == [], "keys were left behind"
    return result


def test_rotate_keys_plans_the_next_key_in_the_secret(operator: KeyPlaces, tmp_path: Path) -> None:
    """What it leaves is what the service reads: the pair, the next pair and the plan."""
    before = files_of(operator.private.parent)
    cluster = Cluster(before)
    with serving(cluster) as address:
        done = rotate_keys(address, tmp_path, "--ahead", "15m")

    assert done.returncode == 0, done.stderr
    assert set(cluster.files) == {
        PRIVATE,
        PUBLIC,
        "oauth_private.next.key",
        "oauth_public.next.key",
        "oauth_private.rotation.json",
    }
    assert {name: cluster.files[name] for name in before} == before
    plan = json.loads(cluster.files["oauth_private.rotation.json"])
    signs_from = datetime.fromisoformat(plan["successor"]["signs_from"])
    assert timedelta(minutes=5) < signs_from - datetime.now(UTC) <= timedelta(minutes=15)


def test_rotate_keys_overwrites_nobody(operator: KeyPlaces, tmp_path: Path) -> None:
    """Two plans at once would leave pods with different keys."""
    before = files_of(operator.private.parent)
    cluster = Cluster(before)
    cluster.overtaken = True
    with serving(cluster) as address:
        refused = rotate_keys(address, tmp_path)

    assert refused.returncode != 0
    assert "Conflict" in refused.stderr
    assert cluster.files == before
