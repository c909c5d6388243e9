"""Reading images out of buildah's storage, layer by layer, so that only what a node lacks is ever copied.

`buildah push` writes every layer of an image each time, a gigabyte and a half for the one with torch. The storage keeps
beside each layer's files the recipe of its archive (vbatts/tar-split: one JSON object a line, either bytes to repeat or
the name of a file whose contents come next), from which the very same bytes are made again.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import ClusterError

_CHUNK_BYTES = 1 << 20
_LITERAL = 2


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer; `digest` is that of its uncompressed archive of `size` bytes."""

    digest: str
    size: int
    files: Path
    recipe: Path
    chain: str
    """Identity of this layer on top of all below it (the image specification's ChainID): containerd's snapshot name."""

    def archive(self) -> Iterator[bytes]:
        """The bytes of the layer's archive. Raises ClusterError when they are not what the digest promises."""
        seen, size = hashlib.sha256(), 0
        for chunk in self._recreate():
            seen.update(chunk)
            size += len(chunk)
            yield chunk
        if (f"sha256:{seen.hexdigest()}", size) != (self.digest, self.size):
            raise ClusterError(f"layer {self.digest} in {self.files} was changed: remove the cache's buildah directory")

    def _recreate(self) -> Iterator[bytes]:
        with gzip.open(self.recipe, "rt") as lines:
            for line in lines:
                step = json.loads(line)
                if step["type"] == _LITERAL:
                    yield base64.b64decode(step["payload"])
                elif step.get("size"):
                    yield from _read(self.files / step["name"])


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """An image as the storage has it."""

    name: str
    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]


def stored_image(storage: Path, name: str) -> StoredImage:
    """Finds an image by its full name in a storage directory of containers/storage's overlay driver."""
    images = json.loads((storage / "overlay-images" / "images.json").read_text())
    record = next((image for image in images if name in image.get("names", [])), None)
    if record is None:
        raise ClusterError(f"image {name} is not in {storage}: build it first")
    home = storage / "overlay-images" / record["id"]
    config = _big_data(home, f"sha256:{record['id']}")
    layers = _layers(storage, record["layer"])
    found = [layer.digest for layer in layers]
    if found != json.loads(config)["rootfs"]["diff_ids"]:
        raise ClusterError(f"the layers of {name} in {storage} are not those of its configuration")
    return StoredImage(name=name, manifest=(home / "manifest").read_bytes(), config=config, layers=layers)


def write_archive(images: Collection[StoredImage], known_chains: Collection[str]) -> Iterator[bytes]:
    """An OCI image layout as a tar stream, without the layers whose chains the reader has."""
    blobs: dict[str, Iterator[bytes]] = {}
    sizes: dict[str, int] = {}
    for image in images:
        for document in (image.manifest, image.config):
            blobs[_sha256(document)] = iter([document])
            sizes[_sha256(document)] = len(document)
        for layer in image.layers:
            if layer.chain not in known_chains:
                blobs[layer.digest] = layer.archive()
                sizes[layer.digest] = layer.size
    yield from _tar_document("oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
    yield from _tar_document("index.json", json.dumps(_index(images)).encode())
    for name, chunks in blobs.items():
        yield from _tar_entry(f"blobs/{name.replace(':', '/')}", sizes[name], chunks)
    yield b"\0" * 2 * tarfile.BLOCKSIZE


def _index(images: Collection[StoredImage]) -> dict[str, Any]:
    manifests = [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": _sha256(image.manifest),
            "size": len(image.manifest),
            "annotations": {"io.containerd.image.name": image.name},
        }
        for image in images
    ]
    return {"schemaVersion": 2, "manifests": manifests}


def _layers(storage: Path, top: str) -> tuple[Layer, ...]:
    records = {record["id"]: record for record in json.loads((storage / "overlay-layers" / "layers.json").read_text())}
    stack = []
    current: str | None = top
    while current:
        stack.append(records[current])
        current = records[current].get("parent")
    layers: list[Layer] = []
    for record in reversed(stack):
        digest = record["diff-digest"]
        chain = _sha256(f"{layers[-1].chain} {digest}".encode()) if layers else digest
        files = storage / "overlay" / record["id"] / "diff"
        recipe = storage / "overlay-layers" / f"{record['id']}.tar-split.gz"
        layers.append(Layer(digest=digest, size=record["diff-size"], files=files, recipe=recipe, chain=chain))
    return tuple(layers)


def _big_data(home: Path, key: str) -> bytes:
    """The storage names files by key, encoded where the key is no plain file name."""
    return (home / f"={base64.b64encode(key.encode()).decode()}").read_bytes()


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _tar_document(name: str, data: bytes) -> Iterator[bytes]:
    return _tar_entry(name, len(data), iter([data]))


def _tar_entry(name: str, size: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size = size
    yield info.tobuf(tarfile.GNU_FORMAT)
    yield from chunks
    yield b"\0" * (-size % tarfile.BLOCKSIZE)


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb", buffering=0) as source:
        while chunk := source.read(_CHUNK_BYTES):
            yield chunk
