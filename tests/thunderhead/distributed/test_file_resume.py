"""A ``.ckpt`` file of several ranks: every rank goes on with what was its own."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, IterableDataset
from trainer_line import Line, numbers
from trainer_logging import Records
from trainer_models import QUIET, Net, Noisy, bits, in_order, regression, shuffled
from trainer_ranks import run_ranks

import thunderhead as th
from bench.collectives import numbered
from thunderhead.callbacks import EarlyStopping, ModelCheckpoint
from thunderhead.strategies import DDPStrategy

EPOCHS = 2


class Apart(Net):
    """Dropout, running statistics, and values of which each rank has its own or all share one."""

    def __init__(self) -> None:
        super().__init__()
        import torchmetrics  # takes seconds, in each process of those that need it

        self.size = torchmetrics.MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("shared", loss.detach(), on_step=False, on_epoch=True, sync_dist=True)
        for reduction in ("sum", "min", "max"):
            self.log(reduction, loss.detach(), on_step=False, on_epoch=True, sync_dist=True, reduce_fx=reduction)
        self.size.update(loss.detach())
        self.log("metric", self.size, on_step=False, on_epoch=True)
        return loss


class Watcher(th.Callback):
    """The loss of every batch, and their sum, which it keeps; files at some of them.

    Args:
        folder: where files go, as ``<batches done>.ckpt``.
        save_after: batches of the run; a negative number is a validation.
    """

    def __init__(self, folder: Path, save_after: tuple[int, ...] = ()) -> None:
        self.folder, self.save_after = folder, save_after
        self.losses: list[str] = []
        self.total = 0.0
        self.validations = 0
        self.at: dict[int, tuple[int, int]] = {}
        self.records: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]).hex())
        self.total += float(outputs["loss"])
        self._save(trainer, len(self.losses))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.validations += 1
        self._save(trainer, -self.validations)

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.total = state_dict["total"]

    def _save(self, trainer: Any, moment: int) -> None:
        if moment in self.save_after:
            trainer.save_checkpoint(self.folder / f"{moment}.ckpt")
            # The batch that is ending is logged after its hooks: by who goes on, too.
            self.at[moment] = (len(self.losses), len(self.records))


class Stream(IterableDataset[Any]):
    """No length, and each rank's own."""

    def __iter__(self) -> Iterator[Any]:
        rank = dist.get_rank()
        yield from (regression(20 + 4 * rank, seed=rank)[index] for index in range(20 + 4 * rank))


CASES: dict[str, Any] = {
    "random samples": lambda: ({}, shuffled(Noisy(60), batch_size=4)),
    "each rank's own order": lambda: ({"use_distributed_sampler": False}, shuffled(Noisy(24), batch_size=4)),
    "own buffers": lambda: (
        {"strategy": DDPStrategy(broadcast_buffers=False)},
        shuffled(regression(60), batch_size=4),
    ),
    "stream": lambda: ({"val_check_interval": 2}, DataLoader(Stream(), batch_size=4)),
}


def fit(rank: int, case: str, watcher: Watcher, ckpt_path: Path | None = None, **more: Any) -> dict[str, Any]:
    """One execution, as a new process would make it: seed, build, fit."""
    th.seed_everything(3, verbose=False)
    arguments, loader = CASES[case]()
    module, records = Apart(), Records()
    torch.manual_seed(100 + rank)
    stopping = EarlyStopping("val_loss", patience=50)
    watcher.records = records.seen
    options = {**QUIET, "logger": [records], "max_epochs": EPOCHS, "val_check_interval": 2, "log_every_n_steps": 1}
    trainer = th.Trainer(**{**options, **arguments, **more}, callbacks=[watcher, stopping])
    trainer.fit(module, loader, in_order(regression(21, seed=8), batch_size=5), ckpt_path=ckpt_path)
    return {
        "losses": watcher.losses,
        "records": records.seen,
        "weights": bits(module),
        "moments": [v.tolist() for s in trainer.optimizers[0].state_dict()["state"].values() for v in s.values()],
        "metrics": {name: value.item() for name, value in trainer.callback_metrics.items()},
        "total": watcher.total,
        "waited": stopping.wait_count,
        "best": stopping.best_score.item(),
        "random": torch.get_rng_state().tolist(),
    }


def _compare(rank: int, directory: str, cases: list[str]) -> dict[str, list[str]]:
    """What differs from the undisturbed run, by the moment of the file; the cases share a process, and its imports."""
    found = {}
    for case in cases:
        folder = Path(directory) / case
        whole = Watcher(folder, (2, 7, -2))
        expected = fit(rank, case, whole)
        assert len(whole.at) == 3, f"{case}: only {sorted(whole.at)} were written"
        found[case] = [
            f"{name} from {moment}.ckpt"
            for moment, ended in whole.at.items()
            for name in _differences(expected, ended, fit(rank, case, Watcher(folder), folder / f"{moment}.ckpt"))
        ]
    return found


def _differences(expected: dict[str, Any], ended: tuple[int, int], resumed: dict[str, Any]) -> list[str]:
    batches, records = ended
    wanted = {**expected, "losses": expected["losses"][batches:], "records": expected["records"][records:]}
    return [name for name in wanted if resumed[name] != wanted[name]]


@pytest.mark.parametrize(("world_size", "cases"), [(2, list(CASES)), (3, ["random samples", "own buffers"])])
def test_a_run_resumed_inside_an_epoch_is_the_undisturbed_one(
    tmp_path: Path, world_size: int, cases: list[str]
) -> None:
    assert (
        run_ranks(_compare, world_size, tmp_path, str(tmp_path), cases) == [{case: [] for case in cases}] * world_size
    )


class Drifting(Line):
    """A value that gets worse on rank 1 alone, from its second validation on."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log it."""
        worse = self.global_rank == 1 and self.current_epoch > 0
        self.log("val_loss", float(self.current_epoch if worse else -self.current_epoch), sync_dist=False)


def _drift(rank: int, folder: str) -> list[tuple[int, int]]:
    """Epochs and rank's own patience used up, undisturbed and from the file of each epoch's end."""

    def ended(ckpt_path: str | None, *callbacks: th.Callback) -> tuple[int, int]:
        stopping = EarlyStopping("val_loss", patience=3)
        trainer = th.Trainer(
            **{**QUIET, "enable_checkpointing": bool(callbacks)}, max_epochs=20, callbacks=[*callbacks, stopping]
        )
        trainer.fit(Drifting(), numbers(*range(6)), numbers(1, 2, 3), ckpt_path=ckpt_path)
        return trainer.current_epoch, stopping.wait_count

    saving = ModelCheckpoint(folder, "{epoch}", save_top_k=-1)
    whole = ended(None, saving)
    return [whole, *(ended(f"{folder}/epoch={epoch}.ckpt") for epoch in range(3))]


def test_the_patience_of_each_rank_goes_on(tmp_path: Path) -> None:
    """Only rank 1's value would stop, in its fourth epoch, wherever the run was taken up."""
    found = run_ranks(_drift, 3, tmp_path, str(tmp_path))
    assert found == [[(4, 0)] * 4, [(4, 3)] * 4, [(4, 0)] * 4]


# --- another number of ranks, and files of rank 0 alone --------------------------------------------------------------


class Counting(Line):
    """Logs one value of every kind in each batch.

    Args:
        value: what is logged.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Log it."""
        for reduction in ("mean", "sum", "min", "max"):
            self.log(reduction, self.value, on_step=False, on_epoch=True, sync_dist=True, reduce_fx=reduction)
        self.log("own", self.value, on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)


class SaveAfter(th.Callback):
    """Writes files after so many batches.

    Args:
        writes: what is called with the trainer then.
    """

    def __init__(self, batches: int, writes: Any) -> None:
        self.batches, self.writes = batches, writes

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Write."""
        if trainer.fit_loop.batches_done == self.batches:
            self.writes(trainer)


def _write(rank: int, folder: str) -> None:
    """Six batches of one sample per rank; files after the second of them, of all ranks and of rank 0 alone."""

    def write(trainer: Any) -> None:
        trainer.save_checkpoint(f"{folder}/all.ckpt")
        if trainer.is_global_zero:
            trainer.save_ended(f"{folder}/alone.ckpt", together=False)

    th.Trainer(**QUIET, max_epochs=1, callbacks=[SaveAfter(2, write)]).fit(Counting(1.0), numbers(*range(12)))


def _go_on(rank: int, path: str) -> tuple[dict[str, float], str, int]:
    """Metrics after the rest of the epoch, in which four is logged; what was said; how many batches followed."""
    said = Said()
    logging.getLogger("thunderhead").addHandler(said)
    logging.getLogger("thunderhead").setLevel(logging.INFO)
    seen: list[int] = []
    watching = th.callbacks.LambdaCallback(on_train_batch_end=lambda *args: seen.append(args[-1]))
    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=[watching])
    trainer.fit(Counting(4.0), numbers(*range(12)), ckpt_path=path)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return metrics, "\n".join(line for line in said.lines if "the checkpoint" in line), len(seen)


class Said(logging.Handler):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.lines.append(record.getMessage())


@pytest.mark.parametrize(("saved", "world_size"), [(2, 1), (2, 2), (2, 3), (1, 2)])
def test_values_of_another_number_of_ranks_are_counted_once(tmp_path: Path, saved: int, world_size: int) -> None:
    run_ranks(_write, saved, tmp_path, str(tmp_path))
    found = run_ranks(_go_on, world_size, tmp_path, f"{tmp_path}/all.ckpt")
    before, after = 2 * saved, (12 // world_size - 2) * world_size
    for metrics, _, batches in found:
        assert batches * world_size == after
        total = before * 1.0 + after * 4.0
        shared = {name: metrics[name] for name in ("mean", "sum", "min", "max")}
        assert shared == {"mean": pytest.approx(total / (before + after)), "sum": total, "min": 1.0, "max": 4.0}
    first, *others = (said for _, said, _ in found)
    assert others == [""] * (world_size - 1)
    who = "1 rank" if saved == 1 else f"{saved} ranks"
    told = (
        f"the checkpoint was saved by {who}, and {world_size} go on: values of the epoch count what all ranks had "
        "logged, random states begin anew, and the epoch is read on from batch 2 in the order of "
        f"{world_size}, so some samples come again and others not at all"
    )
    assert first == ("" if saved == world_size else told)


def test_a_file_of_rank_0_alone_says_so(tmp_path: Path) -> None:
    run_ranks(_write, 2, tmp_path, str(tmp_path))
    first, second = run_ranks(_go_on, 2, tmp_path, f"{tmp_path}/alone.ckpt")
    assert first[1:] == (
        "the checkpoint holds the state of rank 0 alone, which asked nobody when it was written: values of the epoch "
        "count what rank 0 had logged, random states begin anew",
        4,
    )
    assert second[1:] == ("", 4)
    assert (first[0]["own"], second[0]["own"]) == ((2 * 1.0 + 4 * 4.0) / 6, 4.0)
    assert first[0]["sum"] == second[0]["sum"] == 2 * 1.0 + 8 * 4.0


def test_such_a_file_is_plain_data_and_holds_each_rank_once(tmp_path: Path) -> None:
    run_ranks(_write, 3, tmp_path, str(tmp_path))
    own = torch.load(tmp_path / "all.ckpt", weights_only=True)["thunderhead"]
    assert (own["world_size"], len(own["others"])) == (3, 2)
    assert {*own["others"][0]} >= {"data", "results", "random", "metrics"}
    assert "others" not in torch.load(tmp_path / "alone.ckpt", weights_only=True)["thunderhead"]
    # Position, data, values and random states of a rank: some ten thousand numbers, whatever the module's size.
    sizes = [len(pickle.dumps(share)) for share in own["others"]]
    assert max(sizes) < 64 * 1024


# --- what a save costs and how it fails ------------------------------------------------------------------------------


def _spend(rank: int, folder: str) -> dict[str, int]:
    spent: dict[str, int] = {}

    def write(trainer: Any) -> None:
        def count(name: str, act: Any) -> None:
            before = numbered()
            act()
            spent[name] = numbered() - before

        count("broadcast", lambda: trainer.strategy.broadcast(None))
        count("gather", lambda: trainer.strategy.gather_on_first(None))
        count("save", lambda: trainer.save_checkpoint(f"{folder}/a.ckpt"))
        count("save weights", lambda: trainer.save_checkpoint(f"{folder}/b.ckpt", weights_only=True))

    th.Trainer(**QUIET, max_epochs=1, callbacks=[SaveAfter(2, write)]).fit(Line(), numbers(*range(12)))
    return spent


def test_a_save_costs_one_gather_and_the_word_that_it_is_done(tmp_path: Path) -> None:
    for spent in run_ranks(_spend, 2, tmp_path, str(tmp_path)):
        assert spent["gather"] > 0
        assert spent["save"] == spent["gather"] + spent["broadcast"]
        assert spent["save weights"] == spent["broadcast"]


class Locked:
    """A loader whose state cannot be pickled on rank 1."""

    def __iter__(self) -> Iterator[Any]:
        return iter(numbers(1, 2, 3))

    def __len__(self) -> int:
        return 3

    def state_dict(self) -> dict[str, Any]:
        """It."""
        return {"lock": (lambda: None) if dist.get_rank() == 1 else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


def _cannot_send(rank: int, path: str) -> str:
    saving = SaveAfter(1, lambda trainer: trainer.save_checkpoint(path))
    with pytest.raises((TypeError, OSError)) as caught:
        th.Trainer(**QUIET, max_epochs=1, callbacks=[saving]).fit(Line(), Locked())
    return str(caught.value)


def test_state_that_cannot_be_sent_fails_on_every_rank(tmp_path: Path) -> None:
    found = run_ranks(_cannot_send, 2, tmp_path, f"{tmp_path}/a.ckpt", timeout_s=60)
    assert found[0].startswith("rank 1 has state that cannot be saved: ")
    assert found[1].startswith(f"rank 0 could not write '{tmp_path}/a.ckpt': TypeError: rank 1 has state that cannot")
    assert not (tmp_path / "a.ckpt").exists()
