"""How tensors lie in memory: their strides, and which of them share memory.

A fused optimizer walks state and weight in the order of memory, and convolutions and sums choose their way, so their
bits, by strides. What is restored must therefore lie as it lay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Region:
    """Memory of which several tensors have a part, or of which one has some elements more than once.

    Attributes:
        members: which of the tensors.
        start: its first element, counted from the start of the storage.
        length: in elements.
    """

    members: tuple[int, ...]
    start: int
    length: int

    def seen_by(self, member: Tensor) -> Tensor:
        """All of it, flat."""
        return member.detach().as_strided((self.length,), (1,), self.start)


def plain_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Those of a tensor that was made without a word about its layout."""
    strides = [1] if shape else []
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(1, size))
    return tuple(reversed(strides))


def is_plain(tensor: Tensor) -> bool:
    """Whether it lies row by row. More than ``is_contiguous``: kernels are chosen by strides of single rows too."""
    return tensor.numel() == 0 or tensor.stride() == plain_strides(tensor.shape)


def overlaps_itself(tensor: Tensor) -> bool:
    """Whether elements may share memory, as those of an expanded tensor do."""
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += (size - 1) * stride
    return False


def shared_regions(tensors: Sequence[Tensor]) -> list[Region]:
    """Where memory is shared between ``tensors`` of one type, or within one of them.

    Not where they lie so far apart in their common memory that it is larger than they are together.
    """
    by_storage: dict[Any, list[int]] = defaultdict(list)
    for index, tensor in enumerate(tensors):
        if tensor.numel() and not tensor.is_conj() and not tensor.is_neg():
            storage = (tensor.device, tensor.untyped_storage().data_ptr(), tensor.dtype)
            by_storage[storage].append(index)
    found = []
    for indices in by_storage.values():
        if len(indices) > 1 or overlaps_itself(tensors[indices[0]]):
            found += [region for region in _touching(tensors, indices) if _is_shared(tensors, region)]
    return found


def _touching(tensors: Sequence[Tensor], indices: Sequence[int]) -> list[Region]:
    regions: list[Region] = []
    for index in sorted(indices, key=lambda index: tensors[index].storage_offset()):
        start = int(tensors[index].storage_offset())
        end = start + _extent(tensors[index])
        members: tuple[int, ...] = (index,)
        if regions and start < regions[-1].start + regions[-1].length:
            last = regions.pop()
            start, end = last.start, max(last.start + last.length, end)
            members = (*last.members, index)
        regions.append(Region(members, start, end - start))
    return regions


def _extent(tensor: Tensor) -> int:
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _is_shared(tensors: Sequence[Tensor], region: Region) -> bool:
    members = [tensors[index] for index in region.members]
    several = len(members) > 1 or overlaps_itself(members[0])
    return several and region.length <= sum(map(torch.numel, members))


def laid_out(values: Tensor, strides: Sequence[int]) -> Tensor:
    """The same values in new memory, laid out by ``strides``."""
    made = torch.empty_strided(values.shape, strides, dtype=values.dtype, device=values.device)
    return made.copy_(values)
