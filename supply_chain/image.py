"""`make image` builds the image of a commit; `make image-check` builds it twice and compares.

The second build starts from other file dates and rights, with nothing cached. Exit status 0 when
all layers on top of the base are the same bit for bit, 1 when they are not; then it says in what.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from supply_chain.layers import Entry, Image, image_of
from supply_chain.locked import ROOT

DOCKERFILE = "deploy/Dockerfile"
# Of the configuration: when it was made. Newer builders take it from SOURCE_DATE_EPOCH.
TIMES = {"created", "history"}


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def build(tag: str, *, context: Path | None = None, options: tuple[str, ...] = ()) -> None:
    """Build the image of the commit that is checked out, or of a folder that holds it."""
    moment = _git("log", "-1", "--format=%ct").decode().strip()
    command = ["docker", "build", "--quiet", "--tag", tag, "--file", DOCKERFILE, *options]
    command += ["--build-arg", f"SOURCE_DATE_EPOCH={moment}"]
    subprocess.run(
        [*command, "-" if context is None else "."],
        cwd=context or ROOT,
        # Not the folder: what is not committed is in no image.
        input=_git("archive", "HEAD") if context is None else None,
        check=True,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        stdout=subprocess.DEVNULL,
    )


def differences(one: Image, other: Image) -> list[str]:
    """Return what differs on top of the base: lines that name file, and in what it differs."""
    keys = sorted((one.config.keys() | other.config.keys()) - TIMES - {"rootfs"})
    found = [
        f"configuration: {key}" for key in keys if one.config.get(key) != other.config.get(key)
    ]
    for number, (ours, theirs) in enumerate(zip(one.layers, other.layers, strict=True)):
        if ours == theirs:
            continue
        left, right = one.layers[ours], other.layers[theirs]
        names = sorted(left.keys() | right.keys())
        files = [_difference(name, left.get(name), right.get(name)) for name in names]
        lines = [line for line in files if line]
        found += [f"layer {number}: {line}" for line in lines or ["the order of its files"]]
    return found


def _difference(name: str, one: Entry | None, other: Entry | None) -> str:
    if one is None or other is None:
        return f"/{name}: only in one of them"
    parts = [part for part in Entry.__slots__ if getattr(one, part) != getattr(other, part)]
    return f"/{name}: {', '.join(parts)}" if parts else ""


def is_same_content(one: Image, other: Image) -> bool:
    """Tell whether nothing but dates of files differs."""

    def undated(image: Image) -> list[dict[str, Entry]]:
        return [
            {name: replace(entry, changed_at=0) for name, entry in layer.items()}
            for layer in image.layers.values()
        ]

    return undated(one) == undated(other)


def check(options: tuple[str, ...]) -> int:
    """Build twice, compare, and say how far the two are the same."""
    tags = [f"oauthapps-check:{number}" for number in (1, 2)]
    images = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        other = place / "other"
        other.mkdir(mode=0o700)
        # As somebody with another umask has it, checked out at another time.
        subprocess.run(
            ["tar", "--extract", "--touch", "--no-same-permissions"],
            cwd=other,
            input=_git("archive", "HEAD"),
            check=True,
            umask=0o077,
        )
        for tag, context in zip(tags, (None, other), strict=True):
            build(tag, context=context, options=("--no-cache", *options))
            images.append(image_of(tag, place))
    ids = {_id(tag) for tag in tags}
    subprocess.run(["docker", "image", "rm", *tags], check=True, stdout=subprocess.DEVNULL)
    return report(*images, is_same_id=len(ids) == 1)


def report(one: Image, other: Image, *, is_same_id: bool) -> int:
    """Print what was found; return the exit status."""
    found = differences(one, other)
    for line in found[:50]:
        print(line)
    if found:
        same = "nothing but dates differs" if is_same_content(one, other) else "content differs"
        print(f"NOT reproducible: {len(found)} differences; {same}")
        return 1
    if is_same_id:
        print("reproducible bit for bit: both images have the same id")
    else:
        print("all layers are the same bit for bit, and the configuration but for its dates")
    return 0


def _id(tag: str) -> str:
    command = ["docker", "image", "inspect", "--format", "{{.Id}}", tag]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    """Build, or build twice and compare; arguments that are not ours go to `docker build`."""
    parser = argparse.ArgumentParser(prog="make image")
    parser.add_argument("--check", action="store_true", help="build twice and compare")
    parser.add_argument("--tag", default="oauthapps")
    given, options = parser.parse_known_args()
    if given.check:
        return check(tuple(options))
    build(given.tag, options=tuple(options))
    print(f"{given.tag}: {_id(given.tag)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
