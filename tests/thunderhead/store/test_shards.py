"""Shards: the safetensors format, as its own library reads it, and damage found."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch

from thunderhead.store.objects import Corrupt
from thunderhead.store.shards import layout_of, read_shard, shares, write_shard

TENSORS = {
    "half": torch.arange(5, dtype=torch.float16),
    "brain": torch.arange(3, dtype=torch.bfloat16),
    "wide": torch.arange(4, dtype=torch.float64).view(2, 2),
    "flag": torch.tensor([True, False, True]),
    "scalar": torch.tensor(7),
    "empty": torch.zeros(0, 4),
    "eight": torch.tensor([1.0, -2.0]).to(torch.float8_e4m3fn),
    "complex": torch.tensor([1 + 2j], dtype=torch.complex64),
}


def written(tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    layout = layout_of(tensors, metadata or {})
    buffer = torch.full((layout.size + 100,), 255, dtype=torch.uint8)
    write_shard(layout, list(tensors.values()), buffer)
    return buffer[: layout.size].numpy().tobytes()


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.flatten().view(torch.uint8).numpy().tobytes()


def test_the_safetensors_library_reads_what_we_write() -> None:
    found = safetensors.torch.load(written(TENSORS, {"note": "text"}))
    assert set(found) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert raw(found[name]) == raw(tensor), name


def test_we_read_what_the_safetensors_library_writes() -> None:
    content = read_shard(bytearray(safetensors.torch.save(TENSORS, {"note": "text"})), "theirs")
    assert content.metadata == {"note": "text"}
    for name, tensor in TENSORS.items():
        assert raw(content.tensors[name]) == raw(tensor), name


def test_a_dtype_that_the_format_lacks_is_stored_as_bytes() -> None:
    tensor = torch.tensor([1 + 2j, 3], dtype=torch.complex128)
    found = safetensors.torch.load(written({"z": tensor, "narrow": torch.ones(1, dtype=torch.uint8)}))
    assert found["z"].dtype == torch.uint8
    assert torch.equal(found["z"].view(torch.complex128), tensor)


def test_a_shard_may_hold_no_tensor() -> None:
    assert read_shard(bytearray(written({}, {"tree": "null"})), "bare").metadata == {"tree": "null"}


def header(**entry: object) -> bytearray:
    text = json.dumps({"tensor": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **entry}}).encode()
    return bytearray(len(text).to_bytes(8, "little") + text + b"\0" * 4)


@pytest.mark.parametrize(
    "body",
    [
        bytearray(),
        bytearray(b"\1"),
        bytearray(b"\0" * 8),
        bytearray(b"\xff" * 16),
        bytearray((4).to_bytes(8, "little") + b"nope"),
        bytearray((2).to_bytes(8, "little") + b"[]"),
        bytearray((11).to_bytes(8, "little") + b'{"t": null}'),
        header(dtype="F31"),
        header(data_offsets=[0, 8]),
        header(data_offsets=[4, 0]),
        header(data_offsets=[-4, 0]),
        header(shape=[2]),
        header(shape=[-1]),
        header(shape="x"),
        written(TENSORS)[:-1],
    ],
    ids=lambda body: bytes(body[:40]).hex(),
)
def test_what_is_not_laid_out_as_the_format_says_is_corrupt(body: bytes) -> None:
    with pytest.raises(Corrupt, match="damaged one"):
        read_shard(bytearray(body), "damaged one")


def test_the_header_ends_where_any_dtype_may_start() -> None:
    for length in range(70):
        body = written({"n" * (length + 1): torch.ones(1, dtype=torch.float64)})
        assert (8 + int.from_bytes(body[:8], "little")) % 64 == 0


@pytest.mark.parametrize(
    ("sizes", "num", "loads"),
    [
        ({"a": 10, "b": 9, "c": 1, "d": 1}, 2, [11, 10]),
        ({"a": 5}, 3, [5, 0, 0]),
        ({}, 2, [0, 0]),
        ({"a": 4, "b": 4, "c": 4, "d": 4}, 4, [4, 4, 4, 4]),
        ({"a": 0, "b": 0}, 1, [0]),
    ],
)
def test_shares_are_balanced(sizes: dict[str, int], num: int, loads: list[int]) -> None:
    split = shares(sizes, num)
    assert [sum(sizes[name] for name in share) for share in split] == loads
    assert sorted(name for share in split for name in share) == sorted(sizes)


def test_shares_do_not_depend_on_the_order_of_names() -> None:
    sizes = {f"p{index}": index % 7 for index in range(50)}
    assert shares(sizes, 6) == shares(dict(reversed(sizes.items())), 6)
