"""In which epochs loaders were asked for, so that others are due in time, also after a resume."""

from __future__ import annotations

from typing import Any


class LoadedIn:
    """The epoch in which each kind of loader was asked for last.

    Args:
        every: epochs until they are asked for again; 0 for never.
    """

    def __init__(self, every: int = 0) -> None:
        self._every = every
        self._epochs: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def is_stale(self, kind: str, epoch: int) -> bool:
        """Whether those of ``kind`` are to be asked for again in ``epoch``."""
        return bool(self._every) and epoch - self._epochs.get(kind, 0) >= self._every

    def next_load(self, kind: str, epoch: int) -> int:
        """They are asked for now, in ``epoch``: the epoch for which.

        After a resume that of the run before, whose loaders these are to be, unless others are due.
        """
        before = self._before.pop(kind, epoch)
        goes_on = not self._every or epoch - before < self._every
        self._epochs[kind] = before if goes_on else epoch
        return self._epochs[kind]

    def state_dict(self) -> dict[str, Any]:
        """The epochs by kind, in one order whichever kind was asked for first: equal runs have equal bits."""
        return dict(sorted({**self._epochs, **self._before}.items()))

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict`` with loaders that are yet to be asked for."""
        self._before = dict(state)
