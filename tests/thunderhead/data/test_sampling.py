"""Orders of samples are torch's own, cut to ranks as torch cuts them, and can be taken up anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from thunderhead.data.feeds import Feed, needs_shard
from thunderhead.data.sampling import Batches, Seeded, Shard, draw_order

DATA = list(range(11))


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SequentialSampler(DATA),
        lambda: RandomSampler(DATA),
        lambda: RandomSampler(DATA, generator=seeded()),
        lambda: RandomSampler(DATA, num_samples=25),
        lambda: RandomSampler(DATA, num_samples=4, generator=seeded()),
        lambda: RandomSampler(DATA, replacement=True, num_samples=70),
        lambda: RandomSampler(DATA, replacement=True, num_samples=64, generator=seeded()),
        lambda: WeightedRandomSampler(torch.arange(1.0, 12.0), 30),
        lambda: WeightedRandomSampler(torch.arange(1.0, 12.0), 5, replacement=False, generator=seeded()),
        lambda: BatchSampler(RandomSampler(DATA), 3, drop_last=False),
        lambda: BatchSampler(RandomSampler(DATA, generator=seeded()), 3, drop_last=True),
        lambda: BatchSampler(SequentialSampler(DATA), 4, drop_last=True),
        lambda: BatchSampler(BatchSampler(RandomSampler(DATA), 2, drop_last=False), 2, drop_last=False),
    ],
)
def test_orders_and_random_state_are_those_of_torch(make: Any) -> None:
    """The same indices, and every generator left as torch leaves it."""
    torch.manual_seed(9)
    ours, theirs = make(), make()
    order = draw_order(ours)
    after = torch.get_rng_state()
    torch.manual_seed(9)
    assert list(theirs) == [order[i] for i in range(len(order))]
    assert torch.equal(torch.get_rng_state(), after)
    if getattr(ours, "generator", None) is not None:
        assert torch.equal(ours.generator.get_state(), theirs.generator.get_state())


def test_an_unknown_sampler_does_not_touch_the_global_state() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw_order(SubsetRandomSampler(DATA))
    assert torch.equal(torch.get_rng_state(), before)
    assert sorted(first) == DATA
    assert draw_order(SubsetRandomSampler(DATA)) == first
    torch.rand(())
    assert draw_order(SubsetRandomSampler(DATA)) != first


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 15])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("epoch", [0, 3])
def test_padded_shards_are_those_of_torchs_distributed_sampler(world_size: int, shuffle: bool, epoch: int) -> None:
    for rank in range(world_size):
        theirs: Any = DistributedSampler(DATA, world_size, rank, shuffle=shuffle, seed=5)  # type: ignore[arg-type]
        theirs.set_epoch(epoch)
        ours = Shard(rank=rank, world_size=world_size, shuffle=shuffle, seed=5, padded=True)
        ours.epoch = epoch
        order = ours.draw(RandomSampler(DATA))
        assert [order[i] for i in range(len(order))] == list(theirs)
        assert ours.size(RandomSampler(DATA)) == len(theirs)


@pytest.mark.parametrize("world_size", [2, 3, 4, 15])
def test_shards_without_padding_use_every_sample_once(world_size: int) -> None:
    shards = [Shard(rank=r, world_size=world_size, shuffle=False, seed=0, padded=False) for r in range(world_size)]
    parts = [list(shard.draw(SequentialSampler(DATA))[:]) for shard in shards]
    assert sorted(index for part in parts for index in part) == DATA
    assert [len(part) for part in parts] == [shard.size(SequentialSampler(DATA)) for shard in shards]


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 7])
@pytest.mark.parametrize("samples", [5, 8, 9, 16, 17, 18, 23])
@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_evaluate_equally_many_batches(world_size: int, batch_size: int, samples: int, drop_last: bool) -> None:
    """So that a step may communicate; no sample is repeated, and none is left out but by drop_last."""
    data = list(range(samples))
    found = []
    for rank in range(world_size):
        shard = Shard(rank=rank, world_size=world_size, shuffle=False, seed=0, padded=False)
        batches = Batches(SequentialSampler(data), batch_size, drop_last, shard)
        found.append(list(batches))
        assert len(found[-1]) == len(batches)
    everything = [index for batches in found for batch in batches for index in batch]
    assert len(set(everything)) == len(everything)
    assert all(1 <= len(batch) <= batch_size for batches in found for batch in batches)
    if drop_last:
        assert {len(batches) for batches in found} == {samples // world_size // batch_size}
    else:
        assert sorted(everything) == data
        if batch_size > 1:
            assert len({len(batches) for batches in found}) == 1


def test_a_sampler_of_the_users_is_drawn_alike_on_every_rank() -> None:
    torch.manual_seed(rank_state := 1)
    first = Shard(rank=0, world_size=2, shuffle=False, seed=7, padded=True).draw(SubsetRandomSampler(DATA))
    torch.manual_seed(rank_state + 1)
    second = Shard(rank=1, world_size=2, shuffle=False, seed=7, padded=True).draw(SubsetRandomSampler(DATA))
    assert sorted({*first, *second}) == DATA
    assert len(first) == len(second) == 6


class Counting(torch.utils.data.Dataset[int]):
    """Remembers which samples were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __getitem__(self, index: int) -> int:
        self.read.append(index)
        return index

    def __len__(self) -> int:
        return 20


LOADERS: dict[str, Any] = {
    "in order": lambda data: DataLoader(data, batch_size=3),
    "shuffled": lambda data: DataLoader(data, batch_size=3, shuffle=True),
    "dropping": lambda data: DataLoader(data, batch_size=3, shuffle=True, drop_last=True),
    "unbatched": lambda data: DataLoader(data, batch_size=None, shuffle=True),
    "own generator": lambda data: DataLoader(data, batch_size=3, shuffle=True, generator=seeded()),
    "batch sampler": lambda data: DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 4, False)),
    "own batch sampler": lambda data: DataLoader(data, batch_sampler=Pairs()),
}


class Pairs(Sampler[list[int]]):
    """Two at a time, from the end."""

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(18, -1, -2):
            yield [first, first + 1]

    def __len__(self) -> int:
        return 10


@pytest.mark.parametrize("kind", LOADERS)
def test_the_rest_of_an_epoch_is_read_without_what_came_before(kind: str) -> None:
    make = LOADERS[kind]
    torch.manual_seed(2)
    whole = Feed(make(Counting()))
    batches = [torch.as_tensor(batch).tolist() for batch in whole.begin(0)]
    torch.manual_seed(2)
    plain = [torch.as_tensor(batch).tolist() for batch in make(Counting())]
    assert batches == plain, "the loader gives other batches than torch's own"
    assert len(whole) == len(plain)
    for taken in range(len(batches) + 1):
        data = Counting()
        torch.manual_seed(77)
        feed = Feed(make(data))
        feed.load_state_dict(whole.state_dict(taken, running=True))
        before = torch.get_rng_state()
        rest = [torch.as_tensor(batch).tolist() for batch in feed.begin(0)]
        assert rest == batches[taken:]
        assert torch.equal(torch.get_rng_state(), before), "taking up an epoch drew from the global generator"
        assert sorted(data.read) == sorted(index for batch in rest for index in _flat(batch))


def _flat(batch: Any) -> list[int]:
    return batch if isinstance(batch, list) else [batch]


def test_the_users_loader_is_left_alone() -> None:
    loader = DataLoader(Counting(), batch_size=3, shuffle=True)
    sampler, attributes = loader.batch_sampler, dict(loader.__dict__)
    feed = Feed(loader, Shard(rank=0, world_size=2, shuffle=True, seed=0, padded=True))
    list(feed.begin(0))
    assert loader.batch_sampler is sampler
    assert {k: v for k, v in loader.__dict__.items() if k != "_IterableDataset_len_called"} == {
        k: v for k, v in attributes.items() if k != "_IterableDataset_len_called"
    }
    assert len(feed.shown) == 4
    assert isinstance(feed.shown.dataset, Counting)


def test_which_loaders_are_cut() -> None:
    data = Counting()
    assert needs_shard(DataLoader(data))
    assert not needs_shard(DataLoader(data, sampler=DistributedSampler(data, 2, 0)))  # type: ignore[arg-type]
    assert not needs_shard([1, 2])
    assert not needs_shard(DataLoader(_Stream()))


class _Stream(torch.utils.data.IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        yield from range(3)


def test_epochs_are_told_to_samplers() -> None:
    class Knowing(Sampler[int]):
        epochs: list[int] = []  # noqa: RUF012 - looked at by the test

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

        def __iter__(self) -> Iterator[int]:
            yield from range(4)

        def __len__(self) -> int:
            return 4

    feed = Feed(DataLoader(Counting(), sampler=Knowing()))
    for epoch in (0, 1):
        list(feed.begin(epoch))
    assert Knowing.epochs == [0, 1]


class Drawing(torch.utils.data.Dataset[float]):
    """A sample is a random number."""

    def __getitem__(self, index: int) -> float:
        return torch.rand(()).item()

    def __len__(self) -> int:
        return 8


class DrawingTogether(Drawing):
    """A batch of samples is made at once."""

    def __getitems__(self, indices: list[int]) -> list[float]:
        return torch.rand(len(indices)).tolist()  # type: ignore[no-any-return]


def test_samples_made_elsewhere_depend_on_epoch_and_index_alone() -> None:
    data = Seeded(Drawing())
    one = data[(5, 3)]
    torch.rand(9)
    assert data[(5, 3)] == one
    assert data[(5, 4)] != one
    assert data[(6, 3)] != one
    together = Seeded(DrawingTogether())
    assert together.__getitems__([(5, 3), (5, 4)]) == together.__getitems__([(5, 3), (5, 4)])
    assert len(together) == 8
