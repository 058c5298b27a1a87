"""The comparison of two images: what differs is named, and nothing is passed over."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from supply_chain.image import differences, report
from supply_chain.layers import Image, read

FILE = {"name": "./opt/file", "content": b"content", "mode": 0o644, "uid": 0, "mtime": 946684800}


def image(folder: Path, *files: dict[str, Any], **config: Any) -> Image:
    """Return an image with one layer, read from an archive as `docker save` writes it."""
    layer = tarred(files)
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    made = {"config": {"User": "10001"}, "created": "now", "rootfs": {"diff_ids": [digest]}}
    parts = {
        "config.json": {**made, **config},
        "manifest.json": [{"Config": "config.json", "Layers": ["one/layer.tar"]}],
    }
    contents = {name: json.dumps(part).encode() for name, part in parts.items()}
    entries = [
        {**FILE, "name": name, "content": content}
        for name, content in {**contents, "one/layer.tar": layer}.items()
    ]
    archive = folder / "image.tar"
    archive.write_bytes(tarred(entries))
    return read(archive)


def tarred(files: Any) -> bytes:
    """Return an archive of files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for one in files:
            info = tarfile.TarInfo(one["name"])
            info.size, info.mode = len(one["content"]), one["mode"]
            info.uid, info.mtime = one["uid"], one["mtime"]
            tar.addfile(info, io.BytesIO(one["content"]))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        ({"content": b"another"}, "content"),
        ({"mode": 0o600}, "mode"),
        ({"uid": 10001}, "owner"),
        ({"mtime": 946684801}, "changed_at"),
    ],
)
def test_whatever_differs_in_a_file_is_named(
    other: dict[str, Any], differs: str, tmp_path: Path
) -> None:
    """Each makes another layer of it."""
    found = differences(image(tmp_path, FILE), image(tmp_path, {**FILE, **other}))

    assert found == [f"layer 0: /opt/file: {differs}"]


def test_a_file_too_many_and_another_order_are_named(tmp_path: Path) -> None:
    """The last also makes another layer."""
    more = {**FILE, "name": "./opt/more"}
    one, both = image(tmp_path, FILE), image(tmp_path, FILE, more)

    assert differences(one, both) == ["layer 0: /opt/more: only in one of them"]
    turned = image(tmp_path, more, FILE)
    assert differences(both, turned) == ["layer 0: the order of its files"]


def test_of_the_configuration_only_its_dates_may_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Older builders write there when they built."""
    one, later = image(tmp_path, FILE), image(tmp_path, FILE, created="later", history=[1])
    other = image(tmp_path, FILE, config={"User": "root"})

    assert differences(one, later) == []
    assert differences(one, other) == ["configuration: config"]
    assert report(one, later, is_same_id=False) == 0
    assert capsys.readouterr().out == (
        "all layers are the same bit for bit, and the configuration but for its dates\n"
    )


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"mtime": 1}, "nothing but dates differs"),
        ({"content": b"another"}, "content differs"),
    ],
)
def test_it_is_said_how_far_two_images_are_the_same(
    other: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A date is less than a content."""
    one, different = image(tmp_path, FILE), image(tmp_path, {**FILE, **other})

    assert report(one, different, is_same_id=False) == 1
    assert f"NOT reproducible: 1 differences; {says}\n" in capsys.readouterr().out
