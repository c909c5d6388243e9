"""Sealed JSON and manifests: plain JSON for any reader, every change found."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from store_samples import manifest

from thunderhead.store.checksums import checksums_of, crc64nvme
from thunderhead.store.documents import seal, unseal
from thunderhead.store.manifest import Environment, Manifest
from thunderhead.store.objects import Corrupt

DOCUMENT = {"epoch": "000001-0000", "nonce": "ü", "list": [1, 2.5, None], "sha256": "a member of that name"}


def test_a_sealed_document_is_plain_json() -> None:
    assert {**json.loads(seal({"a": 1})), "sha256": "-"} == {"a": 1, "sha256": "-"}


def test_unsealing_gives_the_document_back() -> None:
    assert unseal(seal(DOCUMENT), "x") == DOCUMENT


def test_every_flipped_bit_and_every_cut_is_found() -> None:
    body = seal({"epoch": "000001-0000", "step": 12})
    damaged = [body[:length] for length in range(len(body))]
    for index in range(8 * len(body)):
        flipped = bytearray(body)
        flipped[index // 8] ^= 1 << index % 8
        damaged.append(bytes(flipped))
    for bad in damaged:
        with pytest.raises(Corrupt, match="base of 7"):
            unseal(bad, "base of 7")


def test_a_manifest_comes_back() -> None:
    assert Manifest.from_bytes(manifest().to_bytes(), "m") == manifest()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "else"}, "'else'"),
        ({"epoch": "three"}, "'three'"),
        ({"shards": [{"key": "k"}]}, "content|crc64nvme"),
        ({"shards": None}, "malformed"),
        ({"lineage": {}}, "segments"),
        ({"lineage": {"segments": [{"epoch": "1-0"}], "origin": None}}, "last_step"),
        ({"environment": {"torch": "2"}}, "numpy"),
        ({"environment": {**asdict(manifest().environment), "threads": 0}}, "threads is malformed: 0"),
    ],
)
def test_a_manifest_that_we_cannot_read_is_corrupt(change: dict[str, object], says: str) -> None:
    document = unseal(manifest().to_bytes(), "m")
    with pytest.raises(Corrupt, match=says):
        Manifest.from_bytes(seal({**document, **change}), "m")


def test_a_missing_member_is_corrupt() -> None:
    document = unseal(manifest().to_bytes(), "m")
    for name in set(document) - {"format", "version", "finite"}:
        with pytest.raises(Corrupt, match=name):
            Manifest.from_bytes(seal({key: value for key, value in document.items() if key != name}), "m")


def test_environment_names_what_differs() -> None:
    before = manifest().environment
    after = Environment(torch="2", numpy="2", python="3", cpu="AVX512", threads=4)
    assert before.differences(after) == ["cpu: AVX2 → AVX512", "threads: 1 → 4"]
    assert before.differences(before) == []


def test_crc64nvme_is_the_catalogued_one() -> None:
    """Check value of CRC-64/NVME in the catalogue of parametrised CRC algorithms."""
    assert crc64nvme(b"123456789") == 0xAE8B14860A799888


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 32, 40])
def test_checksums_by_chunk_and_as_a_whole(length: int) -> None:
    body = bytes(range(length))
    found = checksums_of(body, chunk_bytes=16)
    assert found.whole == crc64nvme(body)
    assert found.chunks == tuple(crc64nvme(body[start : start + 16]) for start in range(0, length, 16))
