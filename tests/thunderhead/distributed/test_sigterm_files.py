"""SIGTERM to a script started by hand: the file it leaves holds every rank, and goes on in the undisturbed bits."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from trainer_logging import Records
from trainer_models import QUIET, Net, Noisy, bits, in_order, regression, shuffled
from trainer_ranks import run_ranks
from trainer_stops import Events, flat

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from thunderhead.checkpoint import shares
from thunderhead.core.ending import SIGTERMException
from thunderhead.job.stop import NEVER

# In windows of two batches; validated after every third batch: inside a window, and at the end of one.
MOMENTS = (
    "sanity.0",
    "epoch 0 begins",
    "batch 0.0",
    "batch 0.2",
    "validation after 1.1",
    "validation after 3.0",
    "epoch 0 ends",
    "epoch 1 begins",
    "batch 1.3",
    "validation after 6.1",
)


def train(rank: int, folder: Path, moment: str, terminate: bool, saves: str) -> dict[str, Any]:
    """One execution, from scratch as a new process would: seed, build, fit from the last file, if there is one."""
    th.seed_everything(3, verbose=False)
    module, records = Net(), Records()
    torch.manual_seed(100 + rank)
    events = Events(moment, _agreeing, terminate=terminate)
    saving = {
        "OnExceptionCheckpoint": lambda: OnExceptionCheckpoint(folder),
        "ModelCheckpoint": lambda: ModelCheckpoint(
            folder, every_n_epochs=9, save_on_exception=True, save_last=True, enable_version_counter=False
        ),
    }[saves]()
    arguments = {"accumulate_grad_batches": 2, "val_check_interval": 3, "log_every_n_steps": 1, "max_epochs": 2}
    options = {**QUIET, "logger": [records], "enable_checkpointing": True, **arguments}
    trainer = th.Trainer(**options, callbacks=[events, saving])
    samples = 24 * trainer.world_size
    loader, validation = shuffled(Noisy(samples), batch_size=4), in_order(regression(21, seed=8), batch_size=5)
    code = 0
    path = "last" if (folder / "last.ckpt").exists() else None
    try:
        trainer.fit(module, loader, validation, ckpt_path=path)
    except SIGTERMException as error:
        code = int(str(error.code))
    return {
        "code": code,
        "step": trainer.global_step,
        "batches": events.batches,
        "records": records.seen,
        "weights": bits(module),
        "optimizer": flat(trainer.optimizers[0].state_dict()),
        "metrics": {name: value.item() for name, value in trainer.callback_metrics.items()},
        "random": torch.get_rng_state().tolist(),
    }


def _agreeing(trainer: Any) -> bool:
    return trainer._run.control is None or trainer._run.control._stop.limit != NEVER


def _compare(rank: int, directory: str, signalled: int, saves: str) -> dict[str, Any]:
    folder = Path(directory)
    whole = train(rank, folder / "whole", "", False, saves)
    found = {}
    for moment in MOMENTS:
        first = train(rank, folder / moment, moment, rank == signalled, saves)
        if dist.is_initialized():
            dist.barrier()  # rank 0 writes; new processes would start once all have ended
        last = train(rank, folder / moment, "", False, saves)
        differ = [name for name in ("weights", "optimizer", "metrics", "random", "step") if last[name] != whole[name]]
        differ += [name for name in ("batches", "records") if first[name] + last[name] != whole[name]]
        found[moment] = (first["code"], first["step"], differ)
    return found


@pytest.mark.parametrize(
    ("world_size", "saves"), [(1, "OnExceptionCheckpoint"), (2, "OnExceptionCheckpoint"), (2, "ModelCheckpoint")]
)
def test_the_file_of_sigterm_goes_on_in_the_bits_of_the_undisturbed_run(
    tmp_path: Path, world_size: int, saves: str
) -> None:
    ranks = run_ranks(_compare, world_size, tmp_path, str(tmp_path), world_size - 1, saves)
    for moment in MOMENTS:
        assert {code for code, _, _ in (found[moment] for found in ranks)} == {143}, moment
        assert len({step for _, step, _ in (found[moment] for found in ranks)}) == 1, moment
        assert [differ for _, _, differ in (found[moment] for found in ranks)] == [[]] * world_size, moment


def _does_not_come(rank: int, path: str) -> tuple[str, bool]:
    """Rank 1 fails while it makes its share."""

    class Fails(th.Callback):
        def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
            if rank == 1:
                raise ZeroDivisionError

    shares._LONGEST_WAIT_S = 0.5  # type: ignore[misc]  # rather than ten seconds of this test
    events = Events("batch 0.1", _agreeing, terminate=rank == 0)
    saving = OnExceptionCheckpoint(path)
    trainer = th.Trainer(**{**QUIET, "enable_checkpointing": True}, callbacks=[events, Fails(), saving], max_epochs=9)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises((SIGTERMException, ZeroDivisionError)):
            trainer.fit(Net(), shuffled(batch_size=4))
    dist.barrier()
    content = torch.load(f"{path}/on_exception.ckpt", weights_only=True)
    return "\n".join(str(each.message) for each in caught), "others" in content["thunderhead"]


def test_a_rank_that_does_not_come_costs_its_share_alone(tmp_path: Path) -> None:
    (said, others), _ = run_ranks(_does_not_come, 2, tmp_path, str(tmp_path))
    assert not others
    assert f"{tmp_path}/on_exception.ckpt holds the state of rank 0 alone, for the other ranks gave none: " in said
