"""Steps with an argument ``dataloader_iter``: they take their batches themselves, to read ahead as they like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


class DataloaderIter(Iterator[Any]):
    """What such a step gets instead of a batch; ``next`` gives ``(batch, batch_idx, dataloader_idx)``.

    Batches are as the loader made them: moving them to the device is up to the step.

    Args:
        batches: of one loader.
        taken: batches of this epoch that were used before.
        limit: batches to use at most, those included.
        dataloader_idx: which loader it is.
        told: what is told of each batch.

    Attributes:
        batch: the newest taken.
        taken: batches taken in this epoch.
        ended: a step wanted more than there was.
    """

    def __init__(
        self,
        batches: Iterator[Any],
        taken: int,
        limit: float,
        dataloader_idx: int = 0,
        told: Callable[[object], None] | None = None,
    ) -> None:
        self._batches = batches
        self._limit = limit
        self._dataloader_idx = dataloader_idx
        self._told = told
        self.batch: object = None
        self.taken = taken
        self.ended = False

    def __next__(self) -> tuple[Any, int, int]:
        if self.taken >= self._limit:
            raise StopIteration
        self.batch = next(self._batches)
        self.taken += 1
        if self._told is not None:
            self._told(self.batch)
        return self.batch, self.taken - 1, self._dataloader_idx

    def handed(self) -> Iterator[DataloaderIter]:
        """Itself, for one step after the other."""
        while not self.ended:
            yield self

    def guarded(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """``step`` that ends the epoch, returning None, where it wants more batches than are left.

        Raises:
            RuntimeError: it took no batch, so the epoch would never end.
        """

        def run(*args: object, **kwargs: object) -> object:
            before = self.taken
            try:
                output = step(*args, **kwargs)
            except StopIteration:
                self.ended = True
                return None
            if self.taken == before:
                raise RuntimeError("a step with an argument dataloader_iter took no batch; call next(dataloader_iter)")
            return output

        return run
