"""Who this process is among how many, and what all of them can agree on.

A ``Strategy`` is one. Data, results and checkpoints know no more than this of how a run is distributed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch


@dataclass(frozen=True, slots=True)
class Replica:
    """One of the copies of a model, each of which trains on its own part of the data.

    Attributes:
        rank: which.
        size: how many there are: the data-parallel degree, which is the world's size where no model is cut.
    """

    rank: int = 0
    size: int = 1


if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Reduced = TypeVar("Reduced")


class Ranks(Protocol):
    """The processes of a run, each with one device."""

    @property
    def world_size(self) -> int:
        """Number of processes."""

    @property
    def global_rank(self) -> int:
        """Rank of this process among all."""

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0."""

    @property
    def root_device(self) -> torch.device:
        """Where the module and its batches go."""

    @property
    def data(self) -> Replica:
        """Which part of the data is this process's."""

    @property
    def data_group(self) -> ProcessGroup | None:
        """Ranks with different data, over which values are reduced; None for all."""

    def reduce(self, tensor: Reduced, group: ProcessGroup | None = None, reduce_op: str = "mean") -> Reduced:
        """``tensor``, or every tensor in it, over all ranks or those of ``group``."""

    def all_of(self, decision: bool) -> bool:
        """True if all ranks say so, told over the host: nothing waits for a device."""

    def tell(self, words: object, src: int = 0) -> Any:
        """What rank ``src`` has to say, in JSON."""

    def gather_words(self, words: object) -> list[Any]:
        """What each rank has to say, in JSON, in order of rank."""

    def gather_on_first(self, obj: object) -> list[Any]:
        """What each rank has, in order of rank, on rank 0; nothing on the others."""

    def leave_with_first(self, obj: object, seconds: float) -> list[Any]:
        """As ``gather_on_first``, for ranks that end: rank 0 waits so long at most."""
