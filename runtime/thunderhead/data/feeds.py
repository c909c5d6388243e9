"""A user's loader, made resumable without changing it.

=====================================  ===============================================================================
loader                                 resumed by
=====================================  ===============================================================================
DataLoader over a map-style dataset    drawing the epoch's order again and starting at the next batch; nothing is read
``state_dict`` / ``load_state_dict``   its own state, kept for every rank
any other iterable                     reading and dropping what was consumed
=====================================  ===============================================================================
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
)
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
from torch.utils.data.distributed import DistributedSampler

from thunderhead.data.sampling import Batches, Seeded, SeededBatches, Shard, peek_seed, replacement_for
from thunderhead.rng import isolate_rng
from thunderhead.warning import say, warn, warn_once


class Feed:
    """One loader of a run: where it stands, and how to go on from there.

    Attributes:
        shown: the loader users see under ``trainer.train_dataloader``: their own, unless a part of it took its place.
        read: the one that is read, in an order that is known where it can be.
        iterator: the running epoch's iterator.
    """

    def __init__(self, loader: Any, shard: Shard | None = None) -> None:
        self.source = loader
        self.shown = self.read = loader
        self.iterator: Iterator[Any] = iter(())
        self._iterated = loader
        self._shard = shard
        self._batches: Batches | None = None
        self._seeded: SeededBatches | None = None
        self._record: dict[str, Any] | None = None
        self._resume: dict[str, Any] | None = None
        self._begun = False
        self._unread: Iterator[Any] | None = None
        self._used: tuple[int, dict[str, Any] | None] | None = None
        self.stateful = callable(getattr(loader, "state_dict", None)) and callable(
            getattr(loader, "load_state_dict", None)
        )
        if not self.stateful and isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
            self._wrap(loader)

    def _wrap(self, loader: DataLoader[Any]) -> None:
        found = replacement_for(loader, self._shard)
        if found is None:
            return
        attribute, self._batches = found
        self.read = self._iterated = _copy_with(loader, **{attribute: self._batches})
        if self._shard is not None:
            self.shown = self.read
        if loader.num_workers > 0:
            self._seeded = SeededBatches(self._batches)
            self._iterated = _copy_with(loader, **{attribute: self._seeded}, dataset=Seeded(loader.dataset))

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def ordered(self) -> bool:
        """Whether it is read from an order of samples that is known."""
        return self._batches is not None

    def indices(self, number: int) -> list[Any] | None:
        """The samples of batch ``number`` of the running epoch; None where the loader does not tell."""
        return None if self._batches is None else self._batches.indices(number)

    def begin(self, epoch: int, *, later: bool = False) -> Iterator[Any]:
        """Start (or take up) the iteration of ``epoch``; random numbers are drawn as torch draws them.

        Args:
            epoch: its number.
            later: the order of samples is drawn by ``draw``, once the loaders beside this one have begun.
        """
        self._set_epoch(epoch)
        self._leave_resumed()
        resume, self._resume = self._resume, None
        if resume is not None and resume["record"] is not None:
            self.iterator = self._take_up(resume, epoch)
        else:
            if resume is not None and resume["begun"]:
                self._start_workers(epoch)
            self._record = {**self._generator_states(), "fresh": not self._has_workers()}
            used, self._used = self._used, None
            self.iterator = self._iterate(epoch, later=later) if used is None else self._iterate_after(*used, epoch)
        self._begun = True
        return self.iterator

    def let_go(self) -> None:
        """End the processes of an epoch that was left before its end, and those that outlive one, if they are ours.

        Whoever holds the trainer, or the traceback of what ended it, holds their iterator too. Once a collection of
        cycles finds that, in the midst of whatever runs then, torch waits five seconds for each process.
        """
        running: list[Any] = [self.iterator]
        self.iterator = iter(())
        if self._iterated is not self.source:
            running.append(getattr(self._iterated, "_iterator", None))
            self._iterated.__dict__["_iterator"] = None
        elif getattr(self.source, "persistent_workers", False):
            return  # theirs, and good for the next run
        for iterator in running:
            if isinstance(iterator, _MultiProcessingDataLoaderIter):
                iterator._shutdown_workers()

    def take_up_after(self, used: int, state: dict[str, Any] | None) -> None:
        """Leave out the first ``used`` batches of the next epoch that begins, or let a stateful loader go on itself."""
        self._used = (used, state)

    def _iterate_after(self, used: int, state: dict[str, Any] | None, epoch: int) -> Iterator[Any]:
        if self.stateful and state is not None:
            return self._from_state(state)
        kind = type(self.source).__name__
        if self._order_is_known():
            say(
                f"going on after batch {used} of the epoch; the checkpoint holds no random state, so what is random in "
                "training (dropout, augmentation) is drawn anew"
            )
        else:
            warn(
                f"the checkpoint says that {used} batches of this epoch were used, but not which: {kind} shuffles, and "
                "its random state was not saved. The rest of the epoch is read in a new order, in which some samples "
                "come again and others not at all; from the next epoch on all is as usual"
            )
        if self._batches is not None:
            self._batches.start = used
            return self._iterate(epoch)
        iterator = self._iterate(epoch)
        self._drop(iterator, used)
        return iterator

    def _from_state(self, state: dict[str, Any]) -> Iterator[Any]:
        self.source.load_state_dict(state)
        self._unread = iter(self.source)
        return self._reading(self._unread)

    def _reading(self, iterator: Iterator[Any]) -> Iterator[Any]:
        self._unread = None
        yield from iterator

    def _leave_resumed(self) -> None:
        """An epoch that was resumed after its last batch: a loader may take its state up only once it is read."""
        unread, self._unread = self._unread, None
        if unread is not None:
            with isolate_rng():
                next(unread, None)

    def _order_is_known(self) -> bool:
        """Whether the epoch's order follows from its number alone: read in order, cut by rank, or by ``set_epoch``."""
        if self._shard is not None or not isinstance(self.source, DataLoader):
            return True
        if isinstance(self.source.dataset, IterableDataset):
            return True
        batch_sampler = self.source.batch_sampler
        inner = self.source.sampler if batch_sampler is None else getattr(batch_sampler, "sampler", batch_sampler)
        by_epoch = any(callable(getattr(owner, "set_epoch", None)) for owner in (inner, batch_sampler))
        return type(inner) is SequentialSampler or by_epoch

    def _drop(self, iterator: Iterator[Any], used: int) -> None:
        if used:
            warn_once(
                f"{type(self.source).__name__} has no state_dict, so the {used} batches of this epoch that were "
                "already used are read again and dropped; give it state_dict and load_state_dict to resume at once"
            )
        for _ in range(used):
            next(iterator, None)

    def _iterate(self, epoch: int, *, later: bool = False) -> Iterator[Any]:
        if self._seeded is not None:
            self._seeded.seed = hash((peek_seed(self._iterated.generator), epoch))
        iterator: Iterator[Any] = iter(self._iterated)
        if self._batches is not None and not later:
            self._batches.prime()
        return iterator

    def draw(self) -> None:
        """Draw the order that ``begin(later=True)`` left; what was drawn in between is recorded."""
        if self._batches is not None and self._batches.order is None:
            if self._record is not None:
                self._record["order"] = self._generator_states()
            self._batches.prime()

    def _take_up(self, resume: dict[str, Any], epoch: int) -> Iterator[Any]:
        self._record = resume["record"]
        taken: int = resume["taken"]
        iterator: Iterator[Any]
        with isolate_rng():
            self._set_generator_states(resume["record"])
            if self.stateful:
                return iter(self.source) if resume["state"] is None else self._from_state(resume["state"])
            if self._batches is not None:
                if not resume["record"]["fresh"]:
                    self._start_workers(epoch)
                self._batches.start = taken
                drawn_at = resume["record"].get("order")
                iterator = self._iterate(epoch, later=drawn_at is not None)
                if drawn_at is not None:
                    self._set_generator_states(drawn_at)
                    self._batches.prime()
                return iterator
            iterator = iter(self._iterated)
            self._drop(iterator, taken)
            return iterator

    def _has_workers(self) -> bool:
        return getattr(self._iterated, "_iterator", None) is not None

    def _start_workers(self, epoch: int) -> None:
        """Persistent workers were started in an earlier epoch, and that drew a number then, which must not be now."""
        loader = self._iterated
        if getattr(loader, "persistent_workers", False) and loader.num_workers > 0 and not self._has_workers():
            states = self._generator_states()
            with isolate_rng():
                self._iterate(epoch)
            self._set_generator_states(states)

    def state_dict(self, taken: int, *, running: bool) -> dict[str, Any]:
        """Where this loader stands after ``taken`` batches of the epoch; ``running`` is False between epochs."""
        if not running:
            return {"record": None, "taken": 0, "begun": self._begun, "state": None}
        # A loader may begin only once it is read; until then its state is that of the epoch before.
        state = self.source.state_dict() if self.stateful and taken else None
        return {"record": self._record, "taken": taken, "begun": True, "state": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there at the next ``begin``."""
        self._resume = state

    def _set_epoch(self, epoch: int) -> None:
        if self._shard is not None:
            self._shard.epoch = epoch
        batch_sampler = getattr(self.source, "batch_sampler", None)
        samplers = (getattr(self.source, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
        for candidate in {id(found): found for found in samplers if found is not None}.values():
            if callable(getattr(candidate, "set_epoch", None)):
                candidate.set_epoch(epoch)

    def _generators(self) -> list[torch.Generator]:
        loader = self.source
        outer = [getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)]
        owners = [loader, *outer, *(getattr(found, "sampler", None) for found in outer)]
        found = {id(g): g for g in (getattr(owner, "generator", None) for owner in owners) if g is not None}
        return [generator for generator in found.values() if isinstance(generator, torch.Generator)]

    def _generator_states(self) -> dict[str, Any]:
        return {"torch": torch.get_rng_state(), "own": [generator.get_state() for generator in self._generators()]}

    def _set_generator_states(self, record: dict[str, Any]) -> None:
        torch.set_rng_state(record["torch"])
        for generator, state in zip(self._generators(), record["own"], strict=True):
            generator.set_state(state)


def needs_shard(loader: object) -> bool:
    """Whether a loader under DDP must be cut into parts: map-style, and not cut by its own sampler."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    inner = getattr(loader.batch_sampler, "sampler", None)
    return not isinstance(loader.sampler, DistributedSampler) and not isinstance(inner, DistributedSampler)


def _copy_with(loader: DataLoader[Any], **changes: object) -> DataLoader[Any]:
    """A shallow copy of ``loader`` with attributes that DataLoader does not let anyone set."""
    made = copy.copy(loader)
    made.__dict__.update(changes)
    made.__dict__["_iterator"] = None
    return made


def in_order(loader: DataLoader[Any]) -> DataLoader[Any]:
    """A copy of ``loader`` whose shuffling is switched off; itself where it is not torch's own."""
    batches = loader.batch_sampler
    if batches is not None and type(batches) is not BatchSampler:
        return loader
    sampler: Sampler[Any] | Iterable[Any] = loader.sampler if batches is None else batches.sampler
    if isinstance(sampler, RandomSampler):
        sampler = SequentialSampler(loader.dataset)  # type: ignore[arg-type]  # map-style, so it has a length
    elif type(sampler) is SubsetRandomSampler:
        sampler = list(sampler.indices)
    else:
        return loader
    if batches is None:
        return _copy_with(loader, sampler=sampler)
    return _copy_with(
        loader, sampler=sampler, batch_sampler=BatchSampler(sampler, batches.batch_size, batches.drop_last)
    )
