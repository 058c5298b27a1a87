"""The REST API does what its own document says, whatever it is sent."""

import asyncio
import re
import sys
from pathlib import Path

from tests.e2e.system import ROOT, System

SCOPES = ("applications:read", "applications:write", "directory:read", "directory:write")


async def test_schemathesis_finds_no_difference_between_document_and_answers(
    system: System,
) -> None:
    """Thousands of requests, sound and broken, made from the OpenAPI document; with all checks."""
    await system.run("organizations", "add", "Headquarters", "--global-access")
    await system.run(
        *("users", "add", "chief@example.com", "--name", "Chief", "--administrator"),
        *("--organization", "Headquarters", "--password-stdin"),
        given="correct horse battery\n",
    )
    chief = await system.create(
        "conformance", owner="chief@example.com", scopes=(*SCOPES, "events:read")
    )
    token = (await system.request_token(chief)).json()["access_token"]

    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        *("run", f"{system.registry.url}/openapi.json", "--url", system.registry.url),
        *("--header", f"Authorization: Bearer {token}", "--checks", "all"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "15"),
        *("--generation-deterministic", "--no-color"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    report, _ = await process.communicate()

    assert process.returncode == 0, report.decode()
    (generated,) = re.findall(r"(\d+) generated, (?:\d+) passed", report.decode())
    assert int(generated) > 500
    assert "Traceback" not in system.logs()
