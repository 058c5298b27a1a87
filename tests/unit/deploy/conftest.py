"""The example of the Kubernetes manifests, made into an installation as its document says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
OVERLAY = "deploy/kubernetes/overlays/ours"
KUBECTL = Path(sys.executable).with_name("kubectl")


def steps(text: str) -> list[str]:
    """Return the commands of the document's blocks, the indented ones of its steps too."""
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in blocks]


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the first two steps were done: the overlay `ours` with its secrets."""
    checkout = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "deploy" / "kubernetes", checkout / "deploy" / "kubernetes")
    shutil.rmtree(checkout / OVERLAY.replace("ours", "example") / "secrets", ignore_errors=True)
    for commands in steps(DOCUMENT)[:2]:
        subprocess.run(["bash", "-euc", commands], cwd=checkout, check=True, capture_output=True)
    return checkout


@pytest.fixture(scope="session")
def rendered(installation: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    return kustomized(installation / OVERLAY)


def kustomized(folder: Path) -> list[dict[str, Any]]:
    """Return the objects of a kustomization, built by kubectl; no cluster is asked."""
    built = subprocess.run(
        [KUBECTL, "kustomize", str(folder)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(folder)},
    )
    return list(yaml.safe_load_all(built.stdout))
