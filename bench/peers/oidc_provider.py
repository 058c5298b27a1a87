"""node's oidc-provider as a client credentials server with signed JWTs."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from bench.house import free_port
from bench.token_service import AUDIENCE, SERVER_CORE
from services.token.keys import Algorithm

PLACE = Path(__file__).parents[2] / "tests" / "conformance"
# Node and npm of the requirements for development, before any other.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
CLIENT = {"client_id": "bench", "client_secret": 43 * "s"}


@contextlib.contextmanager
def served(algorithm: Algorithm) -> Iterator[tuple[str, str]]:
    """Run it; yield the address of its token endpoint, and the form of a request."""
    environment = {**os.environ, "PATH": PATH, "NODE_ENV": "production"}
    npm, node = (shutil.which(one, path=PATH) for one in ("npm", "node"))
    assert npm is not None
    assert node is not None
    subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
        cwd=PLACE,
        env=environment,
        check=True,
    )
    port = free_port()
    client = {
        **CLIENT,
        "grant_types": ["client_credentials"],
        "redirect_uris": [],
        "response_types": [],
        "id_token_signed_response_alg": algorithm,
        "scope": "applications:read",
        "token_endpoint_auth_method": "client_secret_post",
    }
    told = {"port": port, "audience": AUDIENCE, "clients": [client], "algorithm": algorithm}
    process = subprocess.Popen(
        ["taskset", "-c", SERVER_CORE, node, "peer.mjs", json.dumps(told)],
        cwd=PLACE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        form = {"grant_type": "client_credentials", "scope": "applications:read", **CLIENT}
        yield f"http://127.0.0.1:{port}/token", urlencode(form)
    finally:
        # The node of a wheel is a program that starts another.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
