"""Safetensors objects written straight into a staging buffer, and read back without trusting a byte.

The layout is that of the safetensors format: 8 bytes length of the header (little endian), the header as JSON padded
    with spaces, then the tensors without gaps. Any safetensors reader opens a shard. A dtype that the format does not
    know is stored as bytes; the skeleton in the header's ``__metadata__`` knows better.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from thunderhead.store.objects import Corrupt

# Tensors start at a multiple of this, so that a buffer can be viewed as any dtype in place.
_ALIGNMENT: Final = 64
_LENGTH_BYTES: Final = 8

_FORMAT_DTYPES: Final = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.int64: "I64",
    torch.uint64: "U64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
_TORCH_DTYPES: Final = {name: dtype for dtype, name in _FORMAT_DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one shard lies.

    Attributes:
        header: length, JSON and padding.
        offsets: start of each tensor in the shard, in bytes, in the order given.
        size: of the whole shard, in bytes.
    """

    header: bytes
    offsets: tuple[int, ...]
    size: int


def layout_of(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> Layout:
    """Plan a shard: widest dtypes first, which keeps every tensor aligned to its own width."""
    order = sorted(tensors, key=lambda name: -tensors[name].element_size())
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    starts: dict[str, int] = {}
    end = 0
    for name in order:
        tensor = tensors[name]
        starts[name], end = end, end + tensor.numel() * tensor.element_size()
        known = tensor.dtype in _FORMAT_DTYPES
        header[name] = {
            "dtype": _FORMAT_DTYPES.get(tensor.dtype, "U8"),
            "shape": list(tensor.shape) if known else [end - starts[name]],
            "data_offsets": [starts[name], end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    padded = text + b" " * (-(len(text) + _LENGTH_BYTES) % _ALIGNMENT)
    prefix = len(padded).to_bytes(_LENGTH_BYTES, "little") + padded
    return Layout(prefix, tuple(len(prefix) + starts[name] for name in tensors), len(prefix) + end)


def write_shard(layout: Layout, tensors: Sequence[torch.Tensor], buffer: torch.Tensor) -> None:
    """Copy header and tensors into ``buffer`` (uint8, at least ``layout.size`` long, on the host).

    Device tensors are copied without waiting for one another; the caller synchronises before it reads the buffer.
    """
    header = torch.frombuffer(bytearray(layout.header), dtype=torch.uint8)
    buffer[: len(layout.header)].copy_(header)
    for tensor, start in zip(tensors, layout.offsets, strict=True):
        if tensor.numel():
            end = start + tensor.numel() * tensor.element_size()
            buffer[start:end].view(tensor.dtype).view(tensor.shape).copy_(tensor, non_blocking=True)


@dataclass(frozen=True, slots=True)
class ShardContent:
    """One shard taken apart; ``tensors`` still as stored, each in memory of its own."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, torch.Tensor]


def read_shard(body: bytearray, subject: str) -> ShardContent:
    """Take a shard apart.

    Raises:
        Corrupt: it is not laid out as the format says; ``subject`` names it in the message.
    """
    try:
        length = int.from_bytes(body[:_LENGTH_BYTES], "little")
        start = _LENGTH_BYTES + length
        if not _LENGTH_BYTES < start <= len(body):
            raise Corrupt(f"{subject}: a header of {length} bytes does not fit {len(body)} bytes")
        header = json.loads(body[_LENGTH_BYTES:start])
        metadata = header.pop("__metadata__", {})
        buffer = torch.frombuffer(body, dtype=torch.uint8)
        tensors = {name: _read_tensor(buffer, start, entry) for name, entry in header.items()}
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise Corrupt(f"{subject}: malformed header: {error}") from error
    return ShardContent(metadata, tensors)


def _read_tensor(buffer: torch.Tensor, data_start: int, entry: Mapping[str, Any]) -> torch.Tensor:
    dtype = _TORCH_DTYPES[entry["dtype"]]
    begin, end = entry["data_offsets"]
    shape = entry["shape"]
    if not 0 <= begin <= end <= len(buffer) - data_start or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"tensor of {entry['dtype']} {shape} at bytes {begin} to {end}")
    # Memory of its own: a view would keep the whole shard alive, and be saved whole by torch.save.
    return buffer[data_start + begin : data_start + end].clone().view(dtype).view(shape)


def shares(sizes: Mapping[str, int], num_shares: int) -> list[list[str]]:
    """Split names into ``num_shares`` lists of about equal bytes: the largest first, each to the least loaded.

    A pure function of its arguments, so that every rank computes the same split without asking.
    """
    loads = [0] * num_shares
    split: list[list[str]] = [[] for _ in range(num_shares)]
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        share = loads.index(min(loads))
        loads[share] += sizes[name]
        split[share].append(name)
    return split
