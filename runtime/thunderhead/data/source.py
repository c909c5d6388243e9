"""The data of one run: loaders as users give them, cut to this rank, limited, and iterated from any position."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, Sampler, SequentialSampler

from thunderhead.data.combined import CombinedLoader, Joint
from thunderhead.data.feeds import Feed, in_order, needs_shard
from thunderhead.data.sampling import Shard
from thunderhead.data.shape import shape_of, told
from thunderhead.exceptions import MisconfigurationException, WrongType
from thunderhead.ranks import Ranks, Replica
from thunderhead.warning import say


class TrainingData:
    """Training loaders behind one iterator.

    Attributes:
        combined: the loaders as users see them under ``trainer.train_dataloader``.
        num_batches: batches per epoch on this rank, infinite where the loader has no length.
    """

    def __init__(self, loaders: Iterable[Any], limit: float | int, place: Placement) -> None:
        self.combined = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders, "max_size_cycle")
        if self.combined.mode == "sequential":
            raise MisconfigurationException(
                "training loaders combined with mode='sequential'; use min_size, max_size or max_size_cycle"
            )
        self.feeds = [Feed(loader, place.shard(loader, training=True)) for loader in self.combined.flattened]
        self.combined = self.combined.replaced([feed.shown for feed in self.feeds])
        lengths = [length_of(feed.shown) for feed in self.feeds]
        limits = [limited(length, limit, "limit_train_batches") for length in lengths]
        self._joint = Joint(self.feeds, limits, self.combined)
        self.num_batches: float = self._joint.length
        self._looks_ahead = any(map(math.isinf, lengths))
        self._shapes = [shape_of(feed) for feed in self.feeds]
        self._single = self.combined.single
        self._ahead: list[Any] = []
        self._ended = False
        self._resumed_ahead: list[Any] | None = None
        self._resumed: dict[str, Any] | None = None
        self._ranks: Ranks | None = None

    @property
    def sized(self) -> bool:
        """Whether the number of batches is known."""
        return not math.isinf(self.num_batches)

    def agree(self, ranks: Ranks, *, allow_empty: bool) -> None:
        """Give all ranks the length of the shortest, so that none waits for gradients of a rank that is done.

        Loaders without a length agree batch by batch, while they are read one batch ahead.

        Raises:
            RuntimeError: this or another rank has no batch at all while others have.
        """
        if ranks.world_size == 1:
            return
        mine = torch.tensor([self.num_batches, float(self._looks_ahead)], device=ranks.root_device)
        fewest, most = (ranks.reduce(mine, reduce_op=op).tolist() for op in ("min", "max"))
        if fewest[0] == 0 < most[0] and not allow_empty:
            raise RuntimeError(
                f"a rank has no training batch while another has {most[0]:g}; give every rank data, or set "
                "allow_zero_length_dataloader_with_multiple_devices = True on the module or datamodule"
            )
        if fewest[0] != most[0]:
            say(f"ranks have {fewest[0]:g} to {most[0]:g} training batches; every epoch ends after {fewest[0]:g}")
        self.num_batches = fewest[0] if math.isinf(fewest[0]) else int(fewest[0])
        self._looks_ahead = bool(most[1])
        self._ranks = ranks

    def begin(self, epoch: int) -> Iterator[Any]:
        """Iterate over the batches of ``epoch`` that are left."""
        self._resumed = None
        iterator = self.feeds[0].begin(epoch) if self._single else self._joint.begin(epoch)
        if not self._looks_ahead:
            return iterator
        # Without a length, the last batch is known as such only when the next read finds nothing.
        resumed, self._resumed_ahead = self._resumed_ahead, None
        self._ahead, self._ended = [], False
        if resumed is None:
            self._read_ahead(iterator)
        else:
            self._ahead, self._ended = list(resumed), not resumed
        return self._looking_ahead(iterator)

    def let_go(self) -> None:
        """Training is over: see :meth:`Feed.let_go`."""
        for feed in self.feeds:
            feed.let_go()

    def _looking_ahead(self, iterator: Iterator[Any]) -> Iterator[Any]:
        while self._ahead:
            batch = self._ahead.pop()
            self._read_ahead(iterator)
            yield batch

    def _read_ahead(self, iterator: Iterator[Any]) -> None:
        for batch in iterator:
            self._ahead.append(batch)
            break
        if self._ranks is not None and not self._ranks.all_of(bool(self._ahead)):
            self._ahead.clear()
        self._ended = not self._ahead

    def is_last(self, done: int) -> bool:
        """Whether the epoch is over after ``done`` batches."""
        return done >= self.num_batches or self._ended

    def samples(self, batches: int) -> int:
        """Samples this rank saw in the first ``batches`` of an epoch; 0 where the loader does not tell."""
        loader = self.feeds[0].read
        size = getattr(loader, "batch_size", None) or getattr(
            getattr(loader, "batch_sampler", None), "batch_size", None
        )
        if not isinstance(size, int) or not self.sized:
            return 0
        order = getattr(getattr(loader, "batch_sampler", None), "order", None)
        return min(batches * size, len(order)) if order is not None else batches * size

    def state_dict(self, taken: int, *, running: bool) -> dict[str, Any]:
        """Where every loader stands after ``taken`` batches, with a batch that was read ahead."""
        if self._resumed is not None:
            return self._resumed  # nothing was read since
        ahead = list(self._ahead) if running and self._looks_ahead else None
        place = {"shapes": self._shapes, "samples": self.samples(taken), "ended": running and self.is_last(taken)}
        if self._single:
            feeds = [self.feeds[0].state_dict(taken + len(ahead or ()), running=running)]
            return {"feeds": feeds, "ahead": ahead, "joint": None, **place}
        feeds = [feed.state_dict(n, running=running) for feed, n in zip(self.feeds, self._joint.taken, strict=True)]
        return {"feeds": feeds, "ahead": ahead, "joint": self._joint.state_dict() if running else None, **place}

    def elsewhere(self, state: dict[str, Any]) -> str | None:
        """What makes the place in ``state`` mean something else here: other loaders; None where it means the same.

        A place between two epochs means the same everywhere, and so does one that ``limit_train_batches`` alone moved.
        """
        saved = state.get("shapes")
        if saved is None or len(saved) != len(self._shapes) or all(feed["record"] is None for feed in state["feeds"]):
            return None
        pairs = [(one, other) for one, other in zip(saved, self._shapes, strict=True) if one and other and one != other]
        return None if not pairs else f"{told(pairs[0][0])}, now {told(pairs[0][1])}"

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there at the next ``begin``.

        Raises:
            MisconfigurationException: there are now more or fewer loaders.
        """
        self._resumed = state
        if "used" in state:
            self._take_up_after(state["used"], state["states"])
            return
        if len(state["feeds"]) != len(self.feeds):
            raise MisconfigurationException(
                f"the checkpoint was taken with {len(state['feeds'])} training loaders, now there are {len(self.feeds)}"
            )
        for feed, saved in zip(self.feeds, state["feeds"], strict=True):
            feed.load_state_dict(saved)
        self._resumed_ahead = state["ahead"]
        # Files of before hold that of the epoch that was over, too.
        if state["joint"] is not None and any(feed["record"] is not None for feed in state["feeds"]):
            self._joint.load_state_dict(state["joint"])

    @property
    def rereadable(self) -> bool:
        """Whether the newest batch can be read again from the same order, without reading those before it."""
        return self._single and self.feeds[0].ordered and not self._looks_ahead

    def stateful(self) -> list[dict[str, Any]]:
        """The state of every loader that has one, as Lightning keeps it."""
        return [feed.source.state_dict() for feed in self.feeds if feed.stateful]

    def _take_up_after(self, used: int, states: list[dict[str, Any]]) -> None:
        """Go on in the middle of an epoch of which nothing is known but how many batches were used.

        Args:
            used: batches.
            states: of the loaders that have one.

        Raises:
            MisconfigurationException: there are now more or fewer loaders with a state.
        """
        stateful = [feed for feed in self.feeds if feed.stateful]
        if states and len(states) != len(stateful):
            raise MisconfigurationException(
                f"the checkpoint holds the state of {len(states)} training loaders, now {len(stateful)} have one"
            )
        taken = [used] if self._single else self._joint.take_up_after(used)
        for feed, count in zip(self.feeds, taken, strict=True):
            feed.take_up_after(count, states.pop(0) if feed.stateful and states else None)


class EvaluationData:
    """Evaluation loaders, read one after the other (or together, where a CombinedLoader says so).

    Attributes:
        combined: the loaders, each after the other, or together.
        shown: what users see: the loader, or the collection they gave.
        limits: batches per feed: per loader, or of the whole where loaders are read together.
        num_batches: batches per loader.
    """

    def __init__(self, loaders: Iterable[Any], limit: float | int, limit_name: str, place: Placement) -> None:
        combined = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders, "sequential")
        self._sequential = combined.mode == "sequential"
        if limit_name == "limit_predict_batches" and not self._sequential:
            raise MisconfigurationException(
                f"prediction loaders combined with mode={combined.mode!r}; predictions are kept per loader, so only "
                "mode='sequential' can be predicted"
            )
        self._all = [Feed(loader, place.shard(loader, training=False)) for loader in combined.flattened]
        self.combined = combined.replaced([feed.shown for feed in self._all])
        self.shown = self.combined.iterables
        limits = [limited(length_of(feed.shown), limit, limit_name) for feed in self._all]
        self._joint = Joint(self._all, limits, self.combined)
        self.feeds: list[Any] = self._all if self._sequential else [self._joint]
        self.limits: list[float] = limits if self._sequential else [self._joint.length]
        self.num_batches = limits

    def begin(self, index: int, epoch: int) -> Iterator[Any]:
        """Iterate over one loader."""
        if not self._sequential:
            return self._joint.begin(epoch)
        return self._all[index].begin(epoch)

    def indices(self, index: int, number: int) -> list[Any] | None:
        """The samples of batch ``number`` of one loader; None where it does not tell, or is read with others."""
        found: list[Any] | None = self._all[index].indices(number) if self._sequential else None
        return found

    def let_go(self) -> None:
        """Nothing more is evaluated: see :meth:`Feed.let_go`."""
        for feed in self._all:
            feed.let_go()

    def state_dict(self) -> list[dict[str, Any]]:
        """Which loaders have started their workers; evaluation itself always starts over."""
        return [feed.state_dict(0, running=False) for feed in self._all]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Take ``state_dict`` back, if there are as many loaders as then."""
        for feed, saved in zip(self._all, state, strict=False):
            feed.load_state_dict(saved)


class Placement:
    """How loaders are cut into one part per rank.

    Args:
        replica: whose part it is.
        enabled: ``use_distributed_sampler``.
        overfit: training data keeps its order (``overfit_batches``).
        predicting: every sample exactly once, in order.
    """

    def __init__(
        self, replica: Replica, *, enabled: bool = True, overfit: bool = False, predicting: bool = False
    ) -> None:
        self._replica = replica
        self._enabled = enabled and replica.size > 1
        self._overfit = overfit
        self._predicting = predicting

    def shard(self, loader: object, *, training: bool) -> Shard | None:
        """This rank's part of ``loader``; ``None`` for all of it.

        Training data is always shuffled and padded to equal lengths. Evaluation keeps the loader's order, and every
        sample is used once.
        """
        if not self._enabled or not isinstance(loader, DataLoader) or not needs_shard(loader):
            return None
        shuffle = not self._overfit and not self._predicting and (training or _is_shuffled(loader))
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        return Shard(
            rank=self._replica.rank, world_size=self._replica.size, shuffle=shuffle, seed=seed, padded=training
        )


def length_of(loader: Sized) -> float:
    """Number of batches, infinite where the loader does not know."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return math.inf


def limited(length: float, limit: float | int, name: str) -> float:
    """Batches to use of ``length``: an integer is a count, a float a fraction.

    Raises:
        MisconfigurationException: a fraction of an unknown length, or one that rounds to no batch at all.
    """
    if length == 0 or limit == 0:
        return 0
    if isinstance(limit, int):
        return min(length, limit)
    if limit == 1.0:
        return length
    if math.isinf(length):
        raise MisconfigurationException(
            f"{name}={limit} is a fraction, but the loader has no length; give a number of batches or 1.0"
        )
    if int(length * limit) == 0:
        raise MisconfigurationException(
            f"{name}={limit} of {int(length)} batches is less than one batch; give at least {1 / length:.4g}, "
            "or 0 for none"
        )
    return int(length * limit)


def request_loaders(given: Iterable[Any] | None, owner: object, hook: str) -> Iterable[Any]:
    """The loaders passed to the entry point, else those of the datamodule's or module's hook.

    Raises:
        MisconfigurationException: there is nothing that can be iterated.
    """
    loaders: Iterable[Any] = given if given is not None else getattr(owner, hook)()
    for loader in CombinedLoader(loaders).flattened if not isinstance(loaders, CombinedLoader) else loaders.flattened:
        if not hasattr(loader, "__iter__"):
            kind = type(loader).__name__
            raise WrongType(
                f"{hook} gave {'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}, which cannot be iterated; return a "
                "DataLoader or any iterable of batches"
            )
    return loaders


def without_shuffling(loaders: Iterable[Any], say: Callable[[str], None]) -> Iterable[Any]:
    """The loader, or each of a collection, reading its data in order, for ``overfit_batches``.

    Only torch's own shuffling can be taken away: what another sampler gives, the dataset alone may understand.
    """
    combined = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders)
    shuffled = [isinstance(loader, DataLoader) and _has_order_of_its_own(loader) for loader in combined.flattened]
    ordered = [in_order(loader) if own else loader for loader, own in zip(combined.flattened, shuffled, strict=True)]
    if any(loader is not before for loader, before in zip(ordered, combined.flattened, strict=True)):
        say("overfit_batches reads the data in order: shuffling is switched off")
    for loader, own in zip(ordered, shuffled, strict=True):
        if own and _has_order_of_its_own(loader):
            kind = type(_innermost_sampler(loader)).__name__
            say(f"overfit_batches keeps the order of {kind}: should it differ by epoch, so do the batches")
    if not any(shuffled):
        return loaders
    made = combined.replaced(ordered)
    return made if isinstance(loaders, CombinedLoader) else made.iterables


def _has_order_of_its_own(loader: DataLoader[Any]) -> bool:
    return not isinstance(loader.dataset, IterableDataset) and _is_shuffled(loader)


def _is_shuffled(loader: DataLoader[Any]) -> bool:
    inner = _innermost_sampler(loader)
    return isinstance(inner, RandomSampler) or (isinstance(inner, Sampler) and type(inner) is not SequentialSampler)


def _innermost_sampler(loader: DataLoader[Any]) -> object:
    return getattr(loader.batch_sampler, "sampler", loader.sampler)
