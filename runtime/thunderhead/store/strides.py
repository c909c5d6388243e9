"""Tensors of a tree: what its skeleton says of each, and what a shard holds.

=================  ====================================================================================================
``name``           under which a shard holds the values
``dtype, shape``   of the tensor
``strides``        where it does not lie row by row; the shard's values always do
``offset``         where memory is shared: the tensor is a part of what the shard holds, from this element on, by
                   ``strides``
=================  ====================================================================================================

A tensor that occurs twice is stored once. So is memory that several tensors of one type share, or elements of an
expanded one: by the tensor that is all of it, if there is one, otherwise flat.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import torch

from thunderhead.layouts import is_plain, laid_out, overlaps_itself, shared_regions
from thunderhead.store.objects import Corrupt

DTYPES: Final = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.uint16, torch.uint32, torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.complex32, torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2),
        *(torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
    )
}
DTYPE_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}


class TensorTable:
    """The tensors of a tree that is taken apart.

    Attributes:
        tensors: name → tensor, in order of the walk; the live ones, nothing is copied.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._nodes: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def add(self, value: torch.Tensor, name: str) -> dict[str, Any]:
        """What the skeleton says of it, which :meth:`share` may correct; ``name`` is what to call it if it is new."""
        place = (
            value.device,
            value.data_ptr(),
            value.dtype,
            value.shape,
            value.stride(),
            value.is_conj(),
            value.is_neg(),
        )
        if value.numel() and place in self._names:
            name = self._names[place]
        else:
            # Paths may coincide as text (the keys 1 and "1"); "~" is only followed by 0 or 1 in a pointer.
            while name in self.tensors:
                name += "~2"
            self._names[place] = name
            self.tensors[name] = value.detach()
        node = {"name": name, **_typed(value)}
        if not is_plain(value) and not overlaps_itself(value):
            node["strides"] = list(value.stride())
        self._nodes[name].append(node)
        return node

    def share(self) -> None:
        """All were added: store memory that is shared once."""
        names = list(self.tensors)
        for region in shared_regions(list(self.tensors.values())):
            members = {names[index]: self.tensors[names[index]] for index in region.members}
            wholes = (name for name, one in members.items() if is_plain(one) and one.numel() == region.length)
            base = next(wholes, None)
            kept = base or names[region.members[0]]
            for name, one in members.items():
                part = {"name": kept, "strides": list(one.stride()), "offset": one.storage_offset() - region.start}
                for node in self._nodes[name] if name != base else ():
                    node.update(part)
                if name != kept:
                    del self.tensors[name]
            if base is None:
                self.tensors[kept] = region.seen_by(members[kept])


class StoredTensors:
    """The tensors of a tree that is put together.

    Args:
        stored: as shards hold them, by name.
    """

    def __init__(self, stored: Mapping[str, torch.Tensor]) -> None:
        self._stored = stored
        self._made: dict[str, torch.Tensor] = {}

    def find(self, node: Mapping[str, Any]) -> torch.Tensor:
        """The tensor of which the skeleton says ``node``; the same object for the same words.

        Raises:
            Corrupt: no shard holds it, or one of another type or shape.
        """
        words = repr([node["name"], node["dtype"], node["shape"], node.get("strides"), node.get("offset")])
        if words not in self._made:
            self._made[words] = self._make(node)
        return self._made[words]

    def _make(self, node: Mapping[str, Any]) -> torch.Tensor:
        name, shape = node["name"], node["shape"]
        if name not in self._stored:
            raise Corrupt(f"tensor {name!r} is in no shard")
        values, dtype = self._stored[name], DTYPES[node["dtype"]]
        if values.dtype == torch.uint8 and dtype != torch.uint8:
            # The shard's format does not know the dtype and holds its bytes; it is aligned, being memory of its own.
            values = values.view(dtype)
            values = values if "offset" in node else values.view(shape)
        if "offset" in node and values.dtype == dtype:
            return values.as_strided(shape, node["strides"], values.storage_offset() + node["offset"])
        if _typed(values) != {"dtype": node["dtype"], "shape": shape}:
            raise Corrupt(f"tensor {name!r} is {_typed(values)}, expected {node['dtype']} of {shape}")
        return laid_out(values, node["strides"]) if "strides" in node else values


def _typed(tensor: torch.Tensor) -> dict[str, Any]:
    return {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape)}
