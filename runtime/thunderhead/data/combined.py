"""Several loaders read together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, Final, TypeGuard

from thunderhead.exceptions import MisconfigurationException, did_you_mean

_END: Final = object()
_NOTHING: Final = object()
MODES: Final = ("min_size", "max_size_cycle", "max_size", "sequential")


class CombinedLoader(Iterable[tuple[Any, int, int]]):
    """A collection of loaders as one.

    Args:
        iterables: a loader, or lists, tuples and dicts of loaders, nested as you like; batches have the same structure.
            One that holds nothing but numbers and strings, or nothing at all, is a loader itself.
        mode: ``min_size`` ends with the shortest; ``max_size_cycle`` with the longest, starting shorter ones again;
            ``max_size`` with the longest, giving None for those that are done; ``sequential`` reads one after another.

    Iterating yields ``(batch, batch_idx, dataloader_idx)``.

    Raises:
        ValueError: there is no such mode.
    """

    def __init__(self, iterables: Iterable[Any], mode: str = "min_size") -> None:
        if mode not in MODES:
            raise MisconfigurationException(
                f"CombinedLoader(mode={mode!r}) does not exist.{did_you_mean(mode, MODES)} There are {', '.join(MODES)}"
            )
        self._iterables = iterables
        self.mode = mode
        self._flattened: list[Any] = list(_leaves(iterables))
        self._limits: list[float] | None = None
        self._joint: Joint | None = None
        self._running: Iterator[tuple[Any, int, int]] | None = None

    @property
    def flattened(self) -> list[Any]:
        """The loaders, in the order of the collection; as many can be put in their places.

        Raises:
            MisconfigurationException: there are more or fewer.
        """
        return self._flattened

    @flattened.setter
    def flattened(self, loaders: list[Any]) -> None:
        if len(loaders) != len(self._flattened):
            raise MisconfigurationException(
                f"CombinedLoader: flattened={loaders!r} are {len(loaders)} loaders, to be put in the places of "
                f"{len(self._flattened)}"
            )
        self._flattened = list(loaders)

    @property
    def iterables(self) -> Iterable[Any]:
        """The collection as it was given, with the loaders that are really read."""
        found: Iterable[Any] = self.rebuild(self.flattened)
        return found

    @property
    def limits(self) -> list[float] | None:
        """Batches to read of each loader at most, or None; one number set here holds for all of them.

        Raises:
            MisconfigurationException: there are more or fewer limits than loaders.
        """
        return self._limits

    @limits.setter
    def limits(self, limits: float | list[float] | None) -> None:
        if isinstance(limits, (int, float)):
            limits = [limits] * len(self.flattened)
        if limits is not None and len(limits) != len(self.flattened):
            raise MisconfigurationException(
                f"CombinedLoader: limits={limits!r} must be one number or one for each of {len(self.flattened)} loaders"
            )
        self._limits = limits

    @property
    def single(self) -> bool:
        """One loader, not in a collection."""
        return _is_loader(self._iterables)

    @property
    def sampler(self) -> object:
        """The samplers, in the structure of the loaders."""
        return self.rebuild([getattr(loader, "sampler", None) for loader in self.flattened])

    @property
    def batch_sampler(self) -> object:
        """The batch samplers, in the structure of the loaders."""
        return self.rebuild([getattr(loader, "batch_sampler", None) for loader in self.flattened])

    def rebuild(self, leaves: list[Any]) -> Any:
        """The structure of the loaders, with ``leaves`` in their places."""
        return _fill(self._iterables, iter(leaves))

    def replaced(self, loaders: list[Any]) -> CombinedLoader:
        """A copy that reads ``loaders`` in the places of its own."""
        made = CombinedLoader(self.rebuild(loaders), self.mode)
        made.limits = self.limits
        return made

    def reset(self) -> None:
        """Forget a running iteration."""
        self._joint = self._running = None

    def __getstate__(self) -> dict[str, Any]:
        """Without a running iteration, which holds what cannot be pickled."""
        return {**self.__dict__, "_joint": None, "_running": None}

    def __iter__(self) -> Iterator[tuple[Any, int, int]]:
        self._running = self._begun()
        return self._running

    def __next__(self) -> tuple[Any, int, int]:
        """The next of the iteration that ``iter`` began last."""
        if self._running is None:
            raise StopIteration
        return next(self._running)

    def _begun(self) -> Iterator[tuple[Any, int, int]]:
        lengths = [_length(loader) for loader in self.flattened]
        limits = [min(pair) for pair in zip(lengths, self.limits or lengths, strict=True)]
        if self.mode == "sequential":
            self._sequential_length = sum(limits)
            return self._one_after_another(limits)
        self._joint = Joint([_Plain(loader) for loader in self.flattened], limits, self)
        return ((batch, index, 0) for index, batch in enumerate(self._joint.begin(0)))

    def _one_after_another(self, limits: list[float]) -> Iterator[tuple[Any, int, int]]:
        for loader_index, (loader, limit) in enumerate(zip(self.flattened, limits, strict=True)):
            for index, batch in enumerate(loader):
                if index >= limit:
                    break
                yield batch, index, loader_index

    def __len__(self) -> int:
        if self.mode == "sequential" and hasattr(self, "_sequential_length"):
            return int(self._sequential_length)
        if self._joint is None:
            raise RuntimeError("call iter() on the CombinedLoader before len()")
        if math.isinf(self._joint.length):
            raise NotImplementedError("a loader of the CombinedLoader has no length")
        return int(self._joint.length)


class _Plain:
    """A loader read as it is."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader

    def begin(self, epoch: int, *, later: bool = False) -> Iterator[Any]:
        return iter(self._loader)

    def draw(self) -> None:
        """It draws when it is read."""


class Joint:
    """Reads several feeds in step, in one of the modes that give one batch of each.

    Attributes:
        taken: batches taken from each feed in its running pass.
        length: batches of the whole, infinite where unknown.
    """

    def __init__(self, feeds: list[Any], limits: list[float], combined: CombinedLoader) -> None:
        self._feeds = feeds
        self._limits = limits
        self._mode = combined.mode
        self._sources = combined.flattened
        self._rebuild: Callable[[list[Any]], Any] = combined.rebuild
        self.taken = [0] * len(feeds)
        self._exhausted = [False] * len(feeds)
        self._resumed = False
        shortest = self._mode == "min_size"
        self.length: float = (min if shortest else max)(limits) if limits else 0

    def begin(self, epoch: int) -> Iterator[Any]:
        """Start, or go on after ``load_state_dict``."""
        if not self._resumed:
            self.taken = [0] * len(self._feeds)
            self._exhausted = [False] * len(self._feeds)
        self._resumed = False
        # All begin before one reads, as under torch: that is the order in which they draw random numbers.
        iterators = [feed.begin(epoch, later=True) for feed in self._feeds]
        for feed in self._feeds:
            feed.draw()
        return self._read(iterators, epoch)

    def _read(self, iterators: list[Iterator[Any]], epoch: int) -> Iterator[Any]:
        while True:
            parts = []
            for index in range(len(iterators)):
                part = self._next(iterators, index, epoch)
                if part is _END:
                    return
                parts.append(part)
            if any(part is _NOTHING for part in parts):
                self._refuse_empty(parts)
                return
            if self._mode == "max_size" and all(self._exhausted):
                return
            yield self._rebuild(parts)

    def _next(self, iterators: list[Iterator[Any]], index: int, epoch: int) -> object:
        if self._mode == "max_size" and self._exhausted[index]:
            return None
        part = next(iterators[index], _END) if self.taken[index] < self._limits[index] else _END
        if part is not _END:
            self.taken[index] += 1
            return part
        self._exhausted[index] = True
        if self._mode == "min_size" or all(self._exhausted):
            return None if self._mode == "max_size" else _END
        if self._mode == "max_size":
            return None
        self.taken[index] = 0
        iterators[index] = self._feeds[index].begin(epoch)
        part = next(iterators[index], _NOTHING)
        self.taken[index] = 1
        return part

    def _refuse_empty(self, parts: list[Any]) -> None:
        if all(part is _NOTHING or exhausted for part, exhausted in zip(parts, self._exhausted, strict=True)):
            return
        index = next(index for index, part in enumerate(parts) if part is _NOTHING)
        raise MisconfigurationException(
            f"CombinedLoader(mode='max_size_cycle'): loader {index} ({type(self._sources[index]).__name__}) is at its "
            "end and gives no batch when it is read again, so it cannot go on beside the longer ones; leave it out if "
            "it is empty, pass something that can be read several times instead of an iterator, or use mode='max_size'"
        )

    def take_up_after(self, used: int) -> list[int]:
        """Go on at the next ``begin`` as after ``used`` batches; how many of its running pass each feed has given."""
        self._exhausted = [used > limit for limit in self._limits]
        if self._mode == "max_size_cycle":
            # A pass that was read to its end is begun anew only when one more is asked for.
            self.taken = [int((used - 1) % limit) + 1 if used and limit else 0 for limit in self._limits]
        else:
            self.taken = [int(min(used, limit)) for limit in self._limits]
        self._resumed = True
        return list(self.taken)

    def state_dict(self) -> dict[str, Any]:
        """Which feeds have been read to their end; their own positions are theirs to keep."""
        return {"exhausted": list(self._exhausted), "taken": list(self.taken)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there at the next ``begin``."""
        self._exhausted, self.taken = list(state["exhausted"]), list(state["taken"])
        self._resumed = True


def _length(loader: Sized) -> float:
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return math.inf


def _is_loader(data: object) -> bool:
    """No collection of loaders: a list, tuple or dict of plain values is read as it is, each value a batch."""
    return not _holds_loaders(data)


def _holds_loaders(data: object) -> TypeGuard[list[Any] | tuple[Any, ...] | dict[Any, Any]]:
    if not isinstance(data, (list, tuple, dict)):
        return False
    values = data.values() if isinstance(data, dict) else data
    return not all(isinstance(value, (int, float, str)) for value in values)


def _leaves(data: object) -> Iterator[Any]:
    if not _holds_loaders(data):
        yield data
    else:
        for value in data.values() if isinstance(data, dict) else data:
            yield from _leaves(value)


def _fill(data: object, leaves: Iterator[Any]) -> object:
    if not _holds_loaders(data):
        return next(leaves)
    if isinstance(data, dict):
        return {key: _fill(value, leaves) for key, value in data.items()}
    parts: list[Any] = [_fill(value, leaves) for value in data]
    return type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)
