"""What a job checkpoint consists of: named parts, each of a kind that says which ranks hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

# A tree of dicts (string or integer keys), lists, tuples, tensors, NumPy arrays, numbers, strings, bytes, booleans
# and None. The checkpoint codec refuses anything else, naming the path.
Tree = Any


class Kind(StrEnum):
    """Which ranks hold a part, and so who writes it and who reads it."""

    REPLICATED = "replicated"  # all ranks hold it alike; they share the upload, and each reads the whole
    LOCAL = "local"  # each rank has its own; only as many ranks as saved it can take it back
    SHARDED = "sharded"  # each rank holds a piece of one whole; no store saves that yet


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a checkpoint, as this rank saves it or reads it back."""

    tree: Tree
    kind: Kind


Parts = Mapping[str, Part]

# The two parts that every checkpoint has: each bears its kind's name, as all did in the first release.
REPLICATED: Final = Kind.REPLICATED.value
LOCAL: Final = Kind.LOCAL.value


def parts_of(replicated: Tree, local: Tree) -> Parts:
    """The two parts that every checkpoint has, and no other."""
    return {REPLICATED: Part(replicated, Kind.REPLICATED), LOCAL: Part(local, Kind.LOCAL)}
