"""A file that Lightning wrote inside an epoch tells how many batches were used, but not which: what we make of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset
from torch.utils.data.distributed import DistributedSampler
from trainer_line import Line, numbers, trainer
from trainer_models import QUIET
from trainer_ranks import run_ranks

import thunderhead as th

DATA = TensorDataset(torch.arange(8.0))


def done(count: int) -> dict[str, Any]:
    """Progress of one kind."""
    made = {"ready": count, "started": count, "processed": count, "completed": count}
    return {"total": dict(made), "current": dict(made)}


def by_lightning(path: Path, *, used: int, epoch: int = 0, states: list[Any] | None = None) -> Path:
    """A file as Lightning 2.6 writes it after ``used`` batches of an epoch."""
    running = done(epoch)
    for level in running.values():
        level["ready"] += 1
        level["started"] += 1
    step = {"total": {"ready": used, "completed": used}, "current": {"ready": used, "completed": used}}
    fit = {
        "state_dict": {} if states is None else {"combined_loader": states},
        "epoch_loop.state_dict": {"_batches_that_stepped": used},
        "epoch_loop.batch_progress": {**done(used), "is_last_batch": False},
        "epoch_loop.scheduler_progress": {"total": {}, "current": {}},
        "epoch_loop.automatic_optimization.state_dict": {},
        "epoch_loop.automatic_optimization.optim_progress": {"optimizer": {"step": step}},
        "epoch_progress": running,
    }
    content = {
        "epoch": epoch,
        "global_step": used,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {"weight": torch.zeros(1)},
        "loops": {"fit_loop": fit},
        "callbacks": {},
        "optimizer_states": [torch.optim.SGD([torch.zeros(1)], 1.0).state_dict()],
        "lr_schedulers": [],
    }
    torch.save(content, path)
    return path


def go_on(path: Path, loaders: Any, max_epochs: int = 2) -> Line:
    """Train on from there."""
    made, module = trainer(max_epochs=max_epochs), Line()
    made.fit(module, loaders, ckpt_path=path)
    return module


class Numbers(IterableDataset[Any]):
    """A stream."""

    def __iter__(self) -> Iterator[Any]:
        return iter(torch.arange(8.0).unsqueeze(1))


def test_data_read_in_order_goes_on_at_its_sample(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = go_on(by_lightning(tmp_path / "a.ckpt", used=3), numbers(*range(8)))
    assert module.fed == [3, 4, 5, 6, 7, *range(8)]
    assert "going on after batch 3 of the epoch; the checkpoint holds no random state" in caplog.text


def test_an_order_by_epoch_goes_on_at_its_sample(tmp_path: Path) -> None:
    def loader() -> DataLoader[Any]:
        return DataLoader(DATA, sampler=DistributedSampler(DATA, num_replicas=1, rank=0, seed=5))

    whole = go_on(by_lightning(tmp_path / "a.ckpt", used=0, epoch=1), loader())
    assert whole.fed not in (list(range(8)), [])
    rest = go_on(by_lightning(tmp_path / "a.ckpt", used=3, epoch=1), loader())
    assert rest.fed == whole.fed[3:]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shuffled_order_is_lost_and_said_to_be(tmp_path: Path, workers: int) -> None:
    """As many batches as are left, each a sample of its own; the count is right from then on."""
    path = by_lightning(tmp_path / "a.ckpt", used=3)
    with pytest.warns(
        UserWarning, match=r"3 batches of this epoch were used, but not which: DataLoader shuffles"
    ) as said:
        module = go_on(path, DataLoader(DATA, shuffle=True, num_workers=workers))
    assert len([warning for warning in said if "shuffles" in str(warning.message)]) == 1
    assert len(set(module.fed[:5])) == 5
    assert sorted(module.fed[5:]) == list(range(8))


def test_a_stream_is_read_again_up_to_there(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the 2 batches of this epoch that were already used are read again"):
        module = go_on(by_lightning(tmp_path / "a.ckpt", used=2), DataLoader(Numbers()), max_epochs=1)
    assert module.fed == [2, 3, 4, 5, 6, 7]


class Stateful:
    """A loader with a state, as Lightning keeps it."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[Any]:
        start = self.at % 4
        for number in range(start, 4):
            self.at = number + 1
            yield (torch.tensor([float(number)]),)

    def __len__(self) -> int:
        return 4

    def state_dict(self) -> dict[str, Any]:
        """Where it stands."""
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go there."""
        self.at = state["at"]


def test_a_stateful_loader_gets_its_state(tmp_path: Path) -> None:
    module = go_on(by_lightning(tmp_path / "a.ckpt", used=1, states=[{"at": 1}]), Stateful())
    assert module.fed == [1, 2, 3, 0, 1, 2, 3]
    with pytest.raises(th.MisconfigurationException, match="state of 2 training loaders, now 1 have one"):
        go_on(by_lightning(tmp_path / "a.ckpt", used=1, states=[{"at": 1}, {}]), Stateful())


def test_we_keep_that_state_where_lightning_looks_for_it(tmp_path: Path) -> None:
    class Saving(th.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                trainer.save_checkpoint(tmp_path / "ours.ckpt")

    trainer(Saving()).fit(Line(), Stateful())
    loops = torch.load(tmp_path / "ours.ckpt", weights_only=True)["loops"]
    assert loops["fit_loop"]["state_dict"] == {"combined_loader": [{"at": 2}]}


class Pairs(Line):
    """Notes what came from each of two loaders."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """A loss."""
        self.fed.append(tuple(None if part is None else int(part[0][0]) for part in batch))  # type: ignore[arg-type]
        return self.weight.sum() * 0


@pytest.mark.parametrize("mode", ["min_size", "max_size", "max_size_cycle"])
@pytest.mark.parametrize("used", range(1, 8))
def test_several_loaders_go_on_together(tmp_path: Path, mode: str, used: int) -> None:
    """The second one is begun anew, or over, where it would have been."""

    def loaders() -> th.CombinedLoader:
        return th.CombinedLoader([numbers(*range(8)), numbers(*range(10, 13))], mode)

    whole = Pairs()
    trainer().fit(whole, loaders())
    if used >= len(whole.fed):
        return
    made, rest = trainer(), Pairs()
    made.fit(rest, loaders(), ckpt_path=by_lightning(tmp_path / "a.ckpt", used=used))
    assert rest.fed == whole.fed[used:]


def _ranks(rank: int, path: str) -> tuple[list[float], list[float]]:
    th.seed_everything(3, verbose=False)
    fed = []
    for ckpt_path in (None, path):
        made, module = th.Trainer(**QUIET, max_epochs=1), Line()
        made.fit(module, DataLoader(DATA, shuffle=True), ckpt_path=ckpt_path)
        fed.append(module.fed)
    return fed[0], fed[1]


def test_an_order_cut_by_rank_follows_from_the_seed(tmp_path: Path) -> None:
    """Under DDP the order is that of DistributedSampler, in Lightning too, so that even shuffled data goes on."""
    path = by_lightning(tmp_path / "a.ckpt", used=1)
    for whole, rest in run_ranks(_ranks, 2, tmp_path, str(path)):
        assert len(whole) == 4
        assert rest == whole[1:]


def test_randomness_of_ones_own_sampler(tmp_path: Path) -> None:
    sampler = RandomSampler(DATA, generator=torch.Generator().manual_seed(1))
    with pytest.warns(UserWarning, match="not which"):
        module = go_on(by_lightning(tmp_path / "a.ckpt", used=3), DataLoader(DATA, sampler=sampler), max_epochs=1)
    assert len(set(module.fed)) == 5
