"""Which samples a batch holds, as a pure function of what was drawn at the epoch's start and a position.

torch draws an epoch's order from a generator when the loader is iterated. We draw at the same moment from the same
generator, so the order is torch's, but remember the generator's state before the draw (the *record*). Drawing again
from the record gives the order again, and a resumed epoch starts at any batch without touching what it skips.
"""

from __future__ import annotations

import random
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler, SequentialSampler, WeightedRandomSampler

from thunderhead.rng import isolate_rng, seed_process

Order = Sequence[Any]
_PLAIN = (SequentialSampler, RandomSampler)


def draw_order(sampler: Iterable[Any]) -> Order:
    """The indices of one epoch, drawing from the very generator, and as much, as iterating ``sampler`` would.

    Samplers we do not know are iterated under a random state of their own, seeded from the global one without
    advancing it.
    """
    if type(sampler) is SequentialSampler:
        return range(len(sampler.data_source))
    if type(sampler) is RandomSampler:
        return _Lazy(_random_order(sampler))
    if type(sampler) is WeightedRandomSampler:
        weights = sampler.weights
        drawn = torch.multinomial(weights, sampler.num_samples, sampler.replacement, generator=sampler.generator)
        return _Lazy(drawn)
    if type(sampler) is BatchSampler:
        # In the place of a sampler, as loaders have it whose datasets take many indices at once.
        order, size = draw_order(sampler.sampler), sampler.batch_size
        count = _batches(len(order), size, sampler.drop_last)
        return [list(order[at * size : (at + 1) * size]) for at in range(count)]
    return isolated_list(sampler)


def isolated_list(sampler: Iterable[Any], seed: int | None = None) -> list[Any]:
    """Everything ``sampler`` yields, drawn under a random state of its own.

    ``seed`` seeds that state; by default the number the global generator would draw next, which it does not notice.
    """
    chosen = peek_seed() if seed is None else seed
    with isolate_rng():
        seed_process(chosen)
        return list(sampler)


def peek_seed(generator: torch.Generator | None = None) -> int:
    """The 64-bit number that ``generator`` (torch's global one by default) would draw next, without drawing it."""
    peek = torch.Generator()
    peek.set_state(torch.get_rng_state() if generator is None else generator.get_state())
    return int(torch.empty((), dtype=torch.int64).random_(generator=peek).item())


def _random_order(sampler: RandomSampler) -> Tensor:
    """What ``RandomSampler.__iter__`` of torch yields, in one tensor."""
    size, wanted = len(sampler.data_source), sampler.num_samples
    generator = sampler.generator
    if generator is None:
        generator = torch.Generator()
        generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_().item()))
    if sampler.replacement:
        chunks = [32] * (wanted // 32) + [wanted % 32]
        parts = [torch.randint(high=size, size=(n,), dtype=torch.int64, generator=generator) for n in chunks]
    else:
        parts = [torch.randperm(size, generator=generator) for _ in range(wanted // size)]
        # torch draws this permutation too when it is empty, which matters to a generator shared with others.
        parts.append(torch.randperm(size, generator=generator)[: wanted % size])
    return torch.cat(parts)


class _Lazy(Sequence[int]):
    """Indices kept in one tensor, turned into integers a batch at a time."""

    def __init__(self, indices: Tensor) -> None:
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> list[int]: ...
    def __getitem__(self, key: int | slice) -> int | list[int]:
        found = self._indices[key]
        return found.tolist() if isinstance(key, slice) else int(found)


class Shard:
    """The part of an epoch's order that belongs to one rank.

    Every rank draws the whole order alike, from ``seed + epoch``, and takes its own positions of it.

    Attributes:
        shuffle: permute the order first, as torch's DistributedSampler does.
        padded: repeat samples so that all ranks get equally many (training); else every sample is used exactly once.
        epoch: epoch being drawn, set before each one.
    """

    def __init__(self, *, rank: int, world_size: int, shuffle: bool, seed: int, padded: bool) -> None:
        self.rank, self.world_size = rank, world_size
        self.shuffle, self.seed, self.padded = shuffle, seed, padded
        self.epoch = 0

    def total(self, sampler: Iterable[Any]) -> int:
        """Samples in the whole order: those of the dataset, or of a sampler that chooses for itself."""
        if type(sampler) is SequentialSampler or type(sampler) is RandomSampler:
            return len(sampler.data_source)
        return _length(sampler)

    def size(self, sampler: Iterable[Any]) -> int:
        """How many samples this rank gets."""
        total = self.total(sampler)
        return -(-total // self.world_size) if self.padded else len(range(self.rank, total, self.world_size))

    def num_batches(self, sampler: Iterable[Any], size: int | None, drop_last: bool) -> int:
        """Batches of every rank, the same on each so that a step may communicate, as far as samples suffice.

        Without padding a rank may have one sample less; its last batch is then split, or left out with ``drop_last``.
        """
        most, own = -(-self.total(sampler) // self.world_size), self.size(sampler)
        if size is None or self.padded:
            return own if size is None else _batches(own, size, drop_last)
        if drop_last:
            return _batches(self.total(sampler) // self.world_size, size, drop_last)
        return min(_batches(most, size, drop_last), own)

    def draw(self, sampler: Iterable[Any]) -> Order:
        """This rank's indices of the epoch."""
        total = self.total(sampler)
        if self.shuffle:
            generator = torch.Generator()
            generator.manual_seed(self.seed + self.epoch)
            positions = torch.randperm(total, generator=generator)
        else:
            positions = torch.arange(total)
        if self.padded and total:
            even = -(-total // self.world_size) * self.world_size
            positions = positions.repeat(-(-even // total))[:even]
        mine = positions[self.rank :: self.world_size]
        if type(sampler) in _PLAIN:
            return _Lazy(mine)
        order = isolated_list(sampler, self.seed + self.epoch)
        return [order[position] for position in mine.tolist()]


class Batches(Sampler[Any]):
    """Batches of indices of one epoch, from any position on; takes the place of a loader's batch sampler.

    Iterating draws the order at the first batch, as torch does. ``start`` is how many batches the next iteration skips.
    """

    def __init__(
        self, inner: Iterable[Any], batch_size: int | None, drop_last: bool, shard: Shard | None = None
    ) -> None:
        self.inner = inner
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.shard = shard
        self.start = 0
        self.order: Order | None = None

    @property
    def sampler(self) -> Iterable[Any]:
        """The sampler whose indices are batched, where other code looks for it."""
        return self.inner

    def prime(self) -> None:
        """Draw the order now, if the current iteration has not yet."""
        if self.order is None:
            self.order = draw_order(self.inner) if self.shard is None else self.shard.draw(self.inner)

    def __iter__(self) -> Iterator[Any]:
        # The order of the last epoch must not be mistaken for this one's; it is drawn again at the first batch.
        self.order = None
        start, self.start = self.start, 0
        return self._from(start)

    def _from(self, start: int) -> Iterator[Any]:
        self.prime()
        order, size = self.order, self.batch_size
        assert order is not None
        if size is None:
            yield from order[start:]
            return
        count = len(self)
        for number in range(start, count):
            at, end = self._bounds(number, size, count, len(order))
            yield order[at:end] if isinstance(order, (list, _Lazy)) else list(order[at:end])

    def _bounds(self, number: int, size: int, count: int, total: int) -> tuple[int, int]:
        """Positions of one batch of ``count``; one batch too many takes its sample from the last full one."""
        if count > _batches(total, size, self.drop_last) and number >= count - 2:
            return (total - 1, total) if number == count - 1 else (number * size, total - 1)
        return number * size, min((number + 1) * size, total)

    def indices(self, number: int) -> list[Any] | None:
        """The samples of one batch of the epoch whose order was drawn; None before that."""
        order, size = self.order, self.batch_size
        if order is None:
            return None
        if size is None:
            found = order[number]
            return list(found) if isinstance(found, (list, tuple)) else [found]
        at, end = self._bounds(number, size, len(self), len(order))
        return list(order[at:end])

    def __len__(self) -> int:
        if self.shard is not None:
            return self.shard.num_batches(self.inner, self.batch_size, self.drop_last)
        total = _length(self.inner)
        return total if self.batch_size is None else _batches(total, self.batch_size, self.drop_last)


def _length(sampler: Iterable[Any]) -> int:
    return len(sampler)  # type: ignore[arg-type]  # torch's type of a sampler has no length, and its samplers have one


def _batches(samples: int, size: int, drop_last: bool) -> int:
    return samples // size if drop_last else -(-samples // size)


def replacement_for(loader: DataLoader[Any], shard: Shard | None) -> tuple[str, Batches] | None:
    """``(attribute, batches)`` to put into a copy of a DataLoader, or ``None`` where it is not ours to replace.

    A batch sampler of torch is rebuilt over its sampler. One of the user's own is drawn whole, as a list of batches.
    """
    batch_sampler = loader.batch_sampler
    if batch_sampler is None:
        return "sampler", Batches(loader.sampler, None, False, shard)
    if type(batch_sampler) is BatchSampler:
        return "batch_sampler", Batches(batch_sampler.sampler, batch_sampler.batch_size, batch_sampler.drop_last, shard)
    return "batch_sampler", Batches(batch_sampler, None, False, shard)


class Seeded:
    """A dataset whose every sample is made under random state seeded from (epoch, index).

    With that, what a loader process draws for a sample does not depend on which process makes it, or on what it made
    before; so a resumed run augments alike with any number of processes. Its indices are ``(seed, index)`` pairs.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        if callable(getattr(dataset, "__getitems__", None)):
            self.__getitems__ = self._get_many

    def __getitem__(self, key: tuple[int, Any]) -> object:
        seed, index = key
        _seed_sample(seed, index)
        return self.dataset[index]

    def _get_many(self, keys: list[tuple[int, Any]]) -> object:
        seed, first = keys[0]
        _seed_sample(seed, first)
        return self.dataset.__getitems__([index for _, index in keys])

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":
            raise AttributeError(name)  # asked for while unpickling, before it is there
        return getattr(self.dataset, name)


class SeededBatches(Sampler[Any]):
    """``Batches`` whose indices carry the epoch's seed, for ``Seeded``."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.seed = 0

    def __iter__(self) -> Iterator[Any]:
        single = self.batches.batch_size is None and not isinstance(self.batches.inner, BatchSampler)
        for chosen in self.batches:
            if single and not isinstance(chosen, list):
                yield (self.seed, chosen)
            else:
                yield [(self.seed, index) for index in chosen]

    def __len__(self) -> int:
        return len(self.batches)


def _seed_sample(seed: int, index: object) -> None:
    # Hashes of strings differ between processes; those of integers do not.
    key = index if isinstance(index, int) else zlib.crc32(repr(index).encode())
    mixed = hash((seed, key)) & 0x7FFF_FFFF_FFFF_FFFF
    torch.default_generator.manual_seed(mixed)
    random.seed(mixed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(mixed & 0xFFFF_FFFF)
