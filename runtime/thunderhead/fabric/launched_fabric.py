"""The processes of a Fabric: who they are, how they are started, and what they tell each other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import torch

from thunderhead.accelerators import Accelerator
from thunderhead.distributed.base import Sent, Strategy
from thunderhead.distributed.environment import ProcessRank
from thunderhead.distributed.parallel import ParallelStrategy
from thunderhead.distributed.process_launch import ProcessLauncher
from thunderhead.ranks import Reduced

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from thunderhead.distributed.operations import ReduceOp


class Launched:
    """What a Fabric knows of its processes.

    Args:
        strategy: of which this process is one.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._has_met = False

    # --- who and where -------------------------------------------------------------------------------------------

    @property
    def strategy(self) -> Strategy:
        """How modules are spread over processes."""
        return self._strategy

    @property
    def accelerator(self) -> Accelerator:
        """Kind of the devices."""
        found = self._strategy.accelerator
        assert found is not None, "choosing a strategy gives it one"
        return found

    @property
    def device(self) -> torch.device:
        """Where modules and batches go."""
        return self._strategy.root_device

    @property
    def global_rank(self) -> int:
        """Rank of this process among all."""
        return self._strategy.global_rank

    @property
    def local_rank(self) -> int:
        """Rank of this process on its node."""
        return self._strategy.local_rank

    @property
    def node_rank(self) -> int:
        """Which node this is."""
        return self._strategy.node_rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self._strategy.world_size

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0."""
        return self._strategy.is_global_zero

    # --- launching -----------------------------------------------------------------------------------------------

    def run(self, *args: object, **kwargs: object) -> object:
        """What a subclass does; it launches by itself where that is left to it."""

    def launch(self, function: Callable[..., Any] | None = None, *args: object, **kwargs: object) -> Any:
        """Have the other processes, and meet them.

        Args:
            function: is run on every rank, with this Fabric as its first argument.
            *args: passed on.
            **kwargs: passed on.

        Returns:
            What ``function`` returns on rank 0 where its ranks are children of this process, else on this one.

        Raises:
            TypeError: ``function`` cannot be called so, or is missing where ranks are children of this process.
        """
        if function is not None and not callable(function):
            raise TypeError(f"Fabric.launch({function!r}): pass the function itself, as in launch(train)")
        if function is not None and not inspect.signature(function).parameters:
            raise TypeError(f"Fabric.launch({function.__name__}): it must take the Fabric as its first argument")
        launcher = self._strategy.launcher
        if isinstance(launcher, ProcessLauncher):
            if function is None:
                raise TypeError(
                    f"strategy={self._strategy.name!r} starts children of this process, so launch needs a function to "
                    "run in them: launch(train)"
                )
            return launcher.launch(_on_rank, (self, function, args, kwargs))
        self._meet()
        return None if function is None else function(self, *args, **kwargs)

    def _meet(self) -> None:
        if not self._has_met:
            self._strategy.setup_environment()
            self._has_met = True

    def _ready(self, what: str) -> None:
        """Meet by oneself where nobody has to be started."""
        if self._has_met:
            return
        if self._strategy.launcher is not None:
            raise RuntimeError(f"Fabric.{what} before Fabric.launch() with several devices; call launch first")
        self._meet()

    # --- between ranks -------------------------------------------------------------------------------------------

    def barrier(self, name: str | None = None) -> None:
        """Wait for all ranks."""
        self._ready("barrier")
        self._strategy.barrier(name)

    def broadcast(self, obj: Sent, src: int = 0) -> Sent:
        """The object that rank ``src`` has."""
        self._ready("broadcast")
        return self._strategy.broadcast(obj, src)

    def all_gather(self, data: object, group: ProcessGroup | None = None, sync_grads: bool = False) -> Any:
        """Every tensor of ``data`` with all ranks' values along a new first dimension."""
        self._ready("all_gather")
        return self._strategy.all_gather(data, group, sync_grads)

    def all_reduce(self, data: Reduced, group: ProcessGroup | None = None, reduce_op: ReduceOp = "mean") -> Reduced:
        """``data``, or every tensor in it, over all ranks."""
        self._ready("all_reduce")
        return self._strategy.reduce(data, group, reduce_op)

    @contextmanager
    def rank_zero_first(self, local: bool = False) -> Iterator[None]:
        """Rank 0 (or each node's first) does what is inside before the others do."""
        self._ready("rank_zero_first")
        first = (self.local_rank if local else self.global_rank) == 0
        name = f"first-{self.node_rank}" if local else "first"
        if not first:
            self._strategy.wait_for_one(name, False)
        try:
            yield
        finally:
            if first:
                self._strategy.wait_for_one(name, True)

    def print(
        self, *args: object, sep: str = " ", end: str = "\n", file: TextIO | None = None, flush: bool = False
    ) -> None:
        """Print on the first process of each node."""
        if self.local_rank == 0:
            print(*args, sep=sep, end=end, file=file, flush=flush)


def _on_rank(
    place: ProcessRank, payload: tuple[Launched, Callable[..., Any], tuple[Any, ...], dict[str, Any]]
) -> object:
    fabric, function, args, kwargs = payload
    strategy = fabric._strategy
    strategy.move_to(place)
    fabric._meet()
    try:
        return function(fabric, *args, **kwargs)
    finally:
        if isinstance(strategy, ParallelStrategy):
            strategy.leave()
