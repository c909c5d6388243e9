"""Images are read from a storage directory byte for byte, and only what the reader lacks is sent."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.cluster.config import ClusterError
from e2e.cluster.layers import Layer, StoredImage, stored_image, write_archive

NAME = "localhost/example:1"
LAYERS = [{"etc/base": b"base\n" * 1000, "etc/empty": b""}, {"opt/code.py": b"print(1)\n"}]


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def recipe(files: dict[str, bytes]) -> list[dict[str, object]]:
    """What tar-split would write of `tar(files)`: everything but the contents of files."""
    steps: list[dict[str, object]] = []
    data, position = tar(files), 0
    for name, content in files.items():
        start = position + tarfile.BLOCKSIZE
        steps.append({"type": 2, "payload": base64.b64encode(data[position:start]).decode()})
        steps.append({"type": 1, "name": name, **({"size": len(content)} if content else {})})
        position = start + len(content)
    steps.append({"type": 2, "payload": base64.b64encode(data[position:]).decode()})
    return steps


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A directory as containers/storage's overlay driver lays it out, with one image of two layers."""
    records: list[dict[str, object]] = []
    for index, files in enumerate(LAYERS):
        for name, data in files.items():
            file = tmp_path / "overlay" / f"layer{index}" / "diff" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        (tmp_path / "overlay-layers").mkdir(exist_ok=True)
        with gzip.open(tmp_path / "overlay-layers" / f"layer{index}.tar-split.gz", "wt") as lines:
            lines.writelines(json.dumps(step) + "\n" for step in recipe(files))
        archive = tar(files)
        parent = {"parent": f"layer{index - 1}"} if index else {}
        records.append({"id": f"layer{index}", "diff-digest": sha256(archive), "diff-size": len(archive), **parent})
    (tmp_path / "overlay-layers" / "layers.json").write_text(json.dumps(records))
    add_image(tmp_path, [sha256(tar(files)) for files in LAYERS])
    return tmp_path


def add_image(storage: Path, diff_ids: list[str]) -> None:
    config = json.dumps({"rootfs": {"diff_ids": diff_ids}}).encode()
    identity = sha256(config).removeprefix("sha256:")
    home = storage / "overlay-images" / identity
    home.mkdir(parents=True)
    (home / f"={base64.b64encode(f'sha256:{identity}'.encode()).decode()}").write_bytes(config)
    (home / "manifest").write_text("{}")
    listing = [{"id": identity, "names": [NAME], "layer": "layer1"}]
    (storage / "overlay-images" / "images.json").write_text(json.dumps(listing))


def members(image: StoredImage, known: tuple[str, ...] = ()) -> dict[str, bytes]:
    stream = io.BytesIO(b"".join(write_archive([image], known)))
    with tarfile.open(fileobj=stream) as archive:
        found = {}
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
        return found


def blob(layer: Layer) -> str:
    return f"blobs/{layer.digest.replace(':', '/')}"


def test_every_blob_is_what_its_name_says(storage: Path) -> None:
    found = members(stored_image(storage, NAME))
    blobs = {name: data for name, data in found.items() if name.startswith("blobs/")}
    assert len(blobs) == 4, "manifest, configuration and two layers"
    for name, data in blobs.items():
        assert name == f"blobs/{sha256(data).replace(':', '/')}"
    (entry,) = json.loads(found["index.json"])["manifests"]
    assert entry["annotations"] == {"io.containerd.image.name": NAME}
    assert entry["digest"] == sha256(b"{}")


def test_layers_are_the_archives_that_were_stored(storage: Path) -> None:
    image = stored_image(storage, NAME)
    assert [b"".join(layer.archive()) for layer in image.layers] == [tar(files) for files in LAYERS]


def test_a_chain_names_a_layer_and_all_below_it(storage: Path) -> None:
    base, code = stored_image(storage, NAME).layers
    assert base.chain == base.digest
    assert code.chain == sha256(f"{base.chain} {code.digest}".encode())


def test_known_chains_are_not_sent(storage: Path) -> None:
    image = stored_image(storage, NAME)
    base, code = image.layers
    found = members(image, (base.chain,))
    assert blob(base) not in found
    assert blob(code) in found


def test_a_changed_file_is_noticed(storage: Path) -> None:
    image = stored_image(storage, NAME)
    (storage / "overlay" / "layer1" / "diff" / "opt" / "code.py").write_bytes(b"print(2)\n")
    with pytest.raises(ClusterError, match="was changed"):
        members(image)


def test_layers_must_be_those_of_the_configuration(storage: Path) -> None:
    (storage / "overlay-images" / "images.json").unlink()
    add_image(storage, [sha256(b"another")])
    with pytest.raises(ClusterError, match="are not those of its configuration"):
        stored_image(storage, NAME)


def test_an_unknown_image_is_named(storage: Path) -> None:
    with pytest.raises(ClusterError, match="localhost/other:1"):
        stored_image(storage, "localhost/other:1")


def test_sizes_come_from_the_records(storage: Path) -> None:
    """The archive's own table is written before the layers are read, so a wrong size would spoil all that follows."""
    image = stored_image(storage, NAME)
    short = replace(image, layers=(replace(image.layers[0], size=image.layers[0].size - 512), image.layers[1]))
    with pytest.raises(ClusterError, match="was changed"):
        members(short)
