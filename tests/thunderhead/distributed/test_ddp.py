"""Several ranks: the same bits after a resume, from the first step on; and one end for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from trainer_job import Losses, MemoryLink, StopAt
from trainer_models import QUIET, Net, bits, in_order, regression, shuffled
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead import job
from thunderhead.distributed.strategy import DataParallelStep, DDPStrategy, Strategy, freeze_buckets
from thunderhead.job.errors import Stopped
from thunderhead.job.parts import LOCAL, REPLICATED, parts_of
from thunderhead.job.stop import boundary_tick, evaluation_tick


def _mixed(trees: list[Any], turn: list[int]) -> Any:
    """One tree whose tensors come from the ranks in turn, as ranks write shares of what they have alike."""
    first = trees[0]
    if isinstance(first, torch.Tensor):
        turn[0] += 1
        return trees[turn[0] % len(trees)]
    if isinstance(first, dict):
        return {key: _mixed([tree[key] for tree in trees], turn) for key in first}
    if isinstance(first, (list, tuple)):
        return type(first)(_mixed(list(items), turn) for items in zip(*trees, strict=True))
    return first


def _shared(commits: dict[int, Any]) -> dict[int, Any]:
    """What this rank would read back: the replicated part put together from all ranks, its own local part."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, {step: parts[REPLICATED].tree for step, parts in commits.items()})
    return {
        step: parts_of(_mixed([other[step] for other in found], [0]), parts[LOCAL].tree)
        for step, parts in commits.items()
    }


def _train(rank: int, link: MemoryLink | None, arguments: dict[str, Any]) -> Any:
    job.attach(link)
    th.seed_everything(3, verbose=False)
    net = Net()
    torch.manual_seed(100 + rank)  # dropout differs between ranks, as it must
    losses = Losses()
    trainer = th.Trainer(**{**QUIET, "max_epochs": 2, **arguments}, callbacks=[losses])
    stopped = False
    try:
        trainer.fit(net, shuffled(regression(44), batch_size=4), in_order())
    except Stopped:
        stopped = True
    return bits(net), losses.seen, stopped


def _resume_everywhere(rank: int, directory: str, arguments: dict[str, Any], ticks: list[int]) -> int:
    path = Path(directory) / f"rank{rank}"
    path.mkdir()
    whole = _train(rank, MemoryLink(path), arguments)
    assert len(whole[1]) == 2 * -(-44 // dist.get_world_size() // 4) or arguments
    for tick in ticks:
        commits: dict[int, Any] = {}
        first = _train(rank, MemoryLink(path, commits, stop=StopAt(tick)), arguments)
        assert first[2], f"did not stop at {tick}"
        resumed = _train(rank, MemoryLink(path, _shared(commits)), arguments)
        assert first[1] + resumed[1] == whole[1], f"losses differ after a stop at tick {tick}"
        assert resumed[0] == whole[0], f"weights differ after a stop at tick {tick}"
    return len(whole[1])


@pytest.mark.parametrize("world_size", [2, 3])
def test_resumed_bits(tmp_path: Path, world_size: int) -> None:
    """Every step of the first epoch, its edges, and the middle of validation (BatchNorm's buffers must survive it)."""
    ticks = [boundary_tick(step) for step in (0, 1, 2, 3, 4, 5, 7)] + [
        evaluation_tick(4 if world_size == 3 else 6, 0, 1)
    ]
    batches = run_ranks(_resume_everywhere, world_size, tmp_path, str(tmp_path), {}, ticks)
    assert set(batches) == {8 if world_size == 3 else 12}


def test_resumed_bits_with_accumulation(tmp_path: Path) -> None:
    arguments = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}
    ticks = [boundary_tick(step) for step in (1, 2, 3)]
    run_ranks(_resume_everywhere, 3, tmp_path, str(tmp_path), arguments, ticks)


def test_resumed_bits_with_buffers_of_each_rank(tmp_path: Path) -> None:
    run_ranks(_resume_own_buffers, 2, tmp_path, str(tmp_path))


def _resume_own_buffers(rank: int, directory: str) -> None:
    from thunderhead.distributed.environment import find_process_rank

    def strategy() -> Strategy:
        return DDPStrategy(broadcast_buffers=False).bind(torch.device("cpu"), find_process_rank())

    path = Path(directory) / f"own{rank}"
    path.mkdir()
    whole = _train(rank, MemoryLink(path), {"strategy": strategy()})
    commits: dict[int, Any] = {}
    first = _train(rank, MemoryLink(path, commits, stop=StopAt(boundary_tick(3))), {"strategy": strategy()})
    resumed = _train(rank, MemoryLink(path, _shared(commits)), {"strategy": strategy()})
    assert first[1] + resumed[1] == whole[1]
    assert resumed[0] == whole[0]
    everyone: list[Any] = [None, None]
    dist.all_gather_object(everyone, resumed[0])
    name = "net.1.running_mean"
    assert everyone[0][name] != everyone[1][name], "the ranks' buffers should differ, or nothing was tested"


def test_gradients_of_the_first_step_have_the_bits_of_later_ones(tmp_path: Path) -> None:
    """From three ranks on, DDP's first step adds up in another order unless its buckets are frozen."""
    frozen = run_ranks(_gradients, 3, tmp_path, True)
    assert all(step == steps[0] for steps in frozen for step in steps)
    loose = run_ranks(_gradients, 3, tmp_path, False)
    assert any(step != steps[0] for steps in loose for step in steps), "torch no longer rebuilds: nothing was tested"


def _gradients(rank: int, freeze: bool) -> list[dict[str, bytes]]:
    class Wide(th.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(*(torch.nn.Linear(300, 300) for _ in range(6)))

        def training_step(self, batch: Any) -> Any:
            return self.layers(batch).square().mean()

    torch.manual_seed(0)
    module = Wide()
    wrapped = DataParallelStep(module)
    if freeze:
        freeze_buckets(wrapped)
    batch = torch.randn(8, 300, generator=torch.Generator().manual_seed(rank))
    found = []
    for _ in range(3):
        module.zero_grad()
        wrapped(batch).backward()
        found.append({name: p.grad.numpy().tobytes() for name, p in module.named_parameters() if p.grad is not None})
    return found


def test_ddp_averages_what_one_process_computes(tmp_path: Path) -> None:
    """Two ranks with half a batch each have the gradients of one process with all of it."""
    two = run_ranks(_first_step, 2, tmp_path)
    assert two[0] == two[1]
    torch.manual_seed(0)
    net = Net(normalise=False, scheduler="none").eval()
    inputs, target = regression(8).tensors
    torch.nn.functional.mse_loss(net(inputs), target).backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(torch.tensor(two[0][name]), parameter.grad.flatten())


def _first_step(rank: int) -> dict[str, list[float]]:
    class Recording(Net):
        def on_train_start(self) -> None:
            self.eval()  # no dropout

        def on_after_backward(self) -> None:
            self.gradients = {name: p.grad.flatten().tolist() for name, p in self.named_parameters()}

    torch.manual_seed(0)
    net = Recording(normalise=False, scheduler="none")
    th.Trainer(**QUIET, max_steps=1).fit(net, torch.utils.data.DataLoader(regression(8), batch_size=4))
    return net.gradients


def test_stop_on_one_rank_stops_all_at_one_step(tmp_path: Path) -> None:
    ends = run_ranks(_stop_one, 3, tmp_path, str(tmp_path))
    assert len(set(ends)) == 1
    assert ends[0] > 0


def _stop_one(rank: int, directory: str) -> int:
    from thunderhead.job.board import Word
    from thunderhead.job.stop import StopAgreement

    path = Path(directory) / f"stop{rank}"
    path.mkdir()
    link = MemoryLink(path)
    words = link.board.words
    store = dist.distributed_c10d.PrefixStore("stop", dist.distributed_c10d._get_default_store())
    link.stop = StopAgreement(
        asked=lambda: bool(words[Word.STOP]), store=store, rank=rank, world_size=3, poll_s=0.01
    ).start()

    class AskAfterStep20(th.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if rank == 1 and trainer.global_step == 20:
                words[Word.STOP] = 1

    job.attach(link)
    th.seed_everything(1, verbose=False)
    trainer = th.Trainer(**QUIET, max_epochs=10_000, callbacks=[AskAfterStep20()])
    with pytest.raises(Stopped):
        trainer.fit(Net(), shuffled(regression(48), batch_size=4), in_order())
    link.stop.close()
    assert list(link.checkpoints.commits) == [trainer.global_step]
    return trainer.global_step


def test_evaluation_does_not_depend_on_the_number_of_ranks(tmp_path: Path) -> None:
    """23 samples in batches of 4: every sample counts once, whatever each rank gets."""
    torch.manual_seed(0)
    net = Net(scheduler="none")
    alone = th.Trainer(**QUIET).validate(net, in_order(regression(23), 4), verbose=False)[0]["val_loss"]
    for world_size in (2, 3):
        found = run_ranks(_validate, world_size, tmp_path, net.state_dict())
        assert found == [pytest.approx(alone, rel=1e-6)] * world_size


def _validate(rank: int, state: dict[str, Any]) -> float:
    class Synced(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            inputs, target = batch
            self.log("val_loss", torch.nn.functional.mse_loss(self(inputs), target), sync_dist=True)

    net = Synced(scheduler="none")
    net.load_state_dict(state)
    return th.Trainer(**QUIET).validate(net, in_order(regression(23), 4), verbose=False)[0]["val_loss"]


def test_early_stopping_is_agreed(tmp_path: Path) -> None:
    """Each rank sees another metric; the first to give up ends all."""
    assert set(run_ranks(_stop_early, 2, tmp_path)) == {10}


def _stop_early(rank: int) -> int:
    class Diverging(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", float(self.current_epoch * (1 if rank == 1 else -1)))

    stopping = th.callbacks.EarlyStopping("val_loss", patience=1)
    trainer = th.Trainer(**QUIET, max_epochs=50, callbacks=[stopping])
    trainer.fit(Diverging(), shuffled(regression(40), batch_size=4), in_order())
    return trainer.global_step


def test_nothing_is_communicated_per_step_but_gradients(tmp_path: Path) -> None:
    """Collectives per step: one all-reduce of the one bucket, plus the broadcast of buffers that DDP makes."""
    counts = run_ranks(_count, 2, tmp_path)
    assert counts == [{"mine": 0}] * 2


def _count(rank: int) -> dict[str, int]:
    calls: list[str] = []
    for name in ("all_reduce", "broadcast", "all_gather", "barrier", "broadcast_object_list", "all_gather_object"):
        original = getattr(dist, name)

        def counted(*args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            calls.append(_name)
            return _original(*args, **kwargs)

        setattr(dist, name, counted)

    class Between(th.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                calls.clear()

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 5:
                self.mine = len(calls)

    counter = Between()
    th.Trainer(**QUIET, max_epochs=1, callbacks=[counter]).fit(
        Net(), shuffled(regression(64), batch_size=4), in_order()
    )
    return {"mine": counter.mine}


@pytest.mark.parametrize("kind", ["sized", "unsized", "limited"])
def test_uneven_batches_end_together(tmp_path: Path, kind: str) -> None:
    """Rank r has 5 + r batches of its own making: all ranks train on five per epoch."""
    assert run_ranks(_uneven, 3, tmp_path, kind) == [(10, 5)] * 3


def _uneven(rank: int, kind: str) -> tuple[int, int]:
    batches = [tuple(part[:4] for part in regression(4, seed=n).tensors) for n in range(5 + rank)]

    class Unsized:
        def __iter__(self) -> Any:
            return iter(batches)

    class Sized(Unsized):
        def __len__(self) -> int:
            return len(batches)

    last = []

    class Watching(th.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.is_last_batch:
                last.append(batch_idx + 1)

    limit = {"limit_train_batches": 6} if kind == "limited" else {}
    trainer = th.Trainer(**QUIET, max_epochs=2, **limit, callbacks=[Watching()])
    trainer.fit(Net(), Sized() if kind == "sized" else Unsized(), in_order())
    assert last[0] == last[1]
    return trainer.global_step, last[0]


def test_a_rank_without_data_is_told_of(tmp_path: Path) -> None:
    found = run_ranks(_empty, 2, tmp_path)
    assert all("a rank has no training batch while another has 3" in message for message in found)


def _empty(rank: int) -> str:
    batches = [regression(4).tensors] * (3 * rank)
    with pytest.raises(RuntimeError) as refused:
        th.Trainer(**QUIET, max_epochs=1).fit(Net(), _Plain(batches))
    return str(refused.value)


class _Plain:
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Any:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def test_prepare_data_is_waited_for(tmp_path: Path) -> None:
    """Rank 0 of the node prepares; nobody sets up before it is done."""
    assert run_ranks(_prepare, 2, tmp_path, str(tmp_path / "data")) == [True, True]


def _prepare(rank: int, path: str) -> bool:
    import time

    class Preparing(th.LightningDataModule):
        ready = False

        def prepare_data(self) -> None:
            assert rank == 0
            time.sleep(0.5)
            Path(path).write_text("here")

        def setup(self, stage: str) -> None:
            self.ready = Path(path).exists()

        def train_dataloader(self) -> Any:
            return shuffled()

    for _ in range(2):  # the second time, too, though the store remembers the first
        data = Preparing()
        th.Trainer(**QUIET, max_epochs=1).fit(Net(), datamodule=data)
        assert data.ready
        th.Trainer(**QUIET).strategy.barrier()
        Path(path).unlink(missing_ok=True)
        th.Trainer(**QUIET).strategy.barrier()
    return True
