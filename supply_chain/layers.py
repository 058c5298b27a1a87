"""An image as `docker save` writes it: what its layers hold, file by file, and how it starts."""

import hashlib
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a layer. `content` is the digest of its bytes, or what a link points to."""

    kind: str
    mode: str
    owner: str
    content: str
    changed_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """`layers` by the digest of their bytes, from the bottom up."""

    config: dict[str, Any]
    layers: dict[str, dict[str, Entry]]


def image_of(name: str, folder: Path) -> Image:
    """Return an image that docker has; `folder` is for the archive."""
    archive = folder / "image.tar"
    subprocess.run(["docker", "save", "--output", str(archive), name], check=True)
    try:
        return read(archive)
    finally:
        archive.unlink()


def read(archive: Path) -> Image:
    """Return the one image of an archive."""
    with tarfile.open(archive) as tar:
        (manifest,) = json.loads(_bytes(tar, "manifest.json"))
        config = json.loads(_bytes(tar, manifest["Config"]))
        digests = config["rootfs"]["diff_ids"]
        layers = {
            digest: _entries(tar, member)
            for digest, member in zip(digests, manifest["Layers"], strict=True)
        }
    return Image(config=config, layers=layers)


def _bytes(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None  # noqa: S101 - for the type checker: these are files
    return file.read()


def _entries(tar: tarfile.TarFile, member: str) -> dict[str, Entry]:
    file = tar.extractfile(member)
    with tarfile.open(fileobj=file) as layer:
        return {one.name.strip("./"): _entry(layer, one) for one in layer}


def _entry(layer: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    content = member.linkname
    if member.isreg():
        file = layer.extractfile(member)
        content = hashlib.sha256(file.read()).hexdigest() if file else ""
    return Entry(
        kind=member.type.decode(),
        mode=f"{member.mode:04o}",
        owner=f"{member.uid}:{member.gid}",
        content=content,
        changed_at=int(member.mtime),
    )
