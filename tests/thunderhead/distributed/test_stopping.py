"""What one rank wants, all do at one same step: SIGTERM, should_stop, early stopping, time limits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_models import QUIET, Net, regression
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead.core.ending import SIGTERMException

BATCHES = [regression(4, seed=number).tensors for number in range(8)]


class Loader:
    """The first of these batches, again and again if need be, the same on every rank."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __iter__(self) -> Iterator[Any]:
        return (BATCHES[index % len(BATCHES)] for index in range(self._length))

    def __len__(self) -> int:
        return self._length


class Story(th.Callback):
    """What happened, in order; and something to do at one moment of it.

    Args:
        moment: as in ``seen``; when it has come for the first time ``act`` is called with the trainer.
    """

    def __init__(self, moment: str = "", act: Any = None) -> None:
        self.seen: list[str] = []
        self._moment, self._act = moment, act

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._note(trainer, f"batch {trainer.fit_loop.batches_done + 8 * trainer.current_epoch}")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._note(trainer, "validation")

    def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
        where = "in sanity check" if trainer.sanity_checking else "in validation"
        if self._moment == where:
            self._note(trainer, where)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._note(trainer, "validated")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._note(trainer, f"epoch {trainer.current_epoch}")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._note(trainer, "end")

    def _note(self, trainer: Any, what: str) -> None:
        self.seen.append(what)
        if what == self._moment and self._act is not None:
            act, self._act = self._act, None
            act(trainer)


def fit(story: Story, *callbacks: th.Callback, validation: int = 2, **arguments: Any) -> th.Trainer:
    """Epochs of eight batches, the same on every rank."""
    arguments = {**QUIET, "max_epochs": 3, "num_sanity_val_steps": 0, **arguments}
    trainer = th.Trainer(**arguments, callbacks=[story, *callbacks])
    trainer.fit(Net(), Loader(8), Loader(validation))
    return trainer


# --- SIGTERM ---------------------------------------------------------------------------------------------------------


def _terminate(trainer: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _terminate_twice(trainer: Any) -> None:
    _terminate(trainer)
    _terminate(trainer)


SIGTERMS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "sanity check": ("in sanity check", _terminate, {"max_epochs": 100_000, "num_sanity_val_steps": 2}),
    "step": ("batch 3", _terminate, {"max_epochs": 100_000}),
    "twice": ("batch 3", _terminate_twice, {"max_epochs": 100_000}),
    "last batch of an epoch": ("batch 8", _terminate, {"max_epochs": 100_000}),
    "inside an accumulation window": ("batch 4", _terminate, {"max_epochs": 100_000, "accumulate_grad_batches": 3}),
    "validation": ("in validation", _terminate, {"validation": 1_000_000}),
    "last batch": ("batch 8", _terminate, {"max_epochs": 1}),
    "last validation": ("in validation", _terminate, {"max_epochs": 1}),
    "end of the last epoch": ("epoch 0", _terminate, {"max_epochs": 1}),
}


@pytest.mark.parametrize(("world_size", "rank"), [(1, 0), (2, 0), (2, 1), (3, 2)])
def test_sigterm_on_any_rank_ends_all_at_one_step(tmp_path: Path, world_size: int, rank: int) -> None:
    found = run_ranks(_all_sigterms, world_size, tmp_path, rank)
    for name in SIGTERMS:
        ends = [ranks[name] for ranks in found]
        steps, seen, code, told = zip(*ends, strict=True)
        assert set(code) == {143}, f"{name}: {code}"
        assert len(set(steps)) == 1, f"{name}: {steps}"
        assert len({tuple(s) for s in seen}) == 1 or "validation" in name, f"{name}: {seen}"
        assert set(told) == {(True, "SIGTERMException")}, f"{name}: {told}"
    # It need not be waited for until a long validation is over.
    assert "validated" not in found[0]["validation"][1]


def _all_sigterms(own: int, rank: int) -> dict[str, Any]:
    found = {}
    for name, (moment, act, arguments) in SIGTERMS.items():
        story = Story(moment, act if own == rank else None)
        told: list[str] = []

        class Hearing(th.Callback):
            trainer: Any = None

            def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
                self.trainer = trainer

            def on_exception(
                self, trainer: Any, pl_module: Any, exception: BaseException, told: list[str] = told
            ) -> None:
                told.append(type(exception).__name__)

        hearing = Hearing()
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SIGTERMException) as ended:
            fit(story, hearing, **arguments)
        assert signal.getsignal(signal.SIGTERM) is before
        trainer = hearing.trainer
        found[name] = (trainer.global_step, story.seen, ended.value.code, (trainer.received_sigterm, *told))
    return found


# --- should_stop -----------------------------------------------------------------------------------------------------


def _stop(trainer: Any) -> None:
    trainer.should_stop = True


STOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "step": ("batch 3", {}),
    "second epoch": ("batch 11", {}),
    "last batch of an epoch": ("batch 8", {}),
    "validation inside an epoch": ("validated", {"val_check_interval": 4}),
    "end of an epoch": ("epoch 0", {}),
    "end of the validation of an epoch": ("validated", {}),
    "with min_steps": ("batch 3", {"min_steps": 11}),
    "with min_epochs": ("batch 3", {"min_epochs": 2}),
    "without validation": ("batch 3", {"limit_val_batches": 0}),
    "validation in every other epoch": ("batch 3", {"check_val_every_n_epoch": 2}),
}


def test_should_stop_on_all_ranks_is_as_on_one(tmp_path: Path) -> None:
    """Step for step and validation for validation: the agreement costs nobody a step."""
    alone = run_ranks(_all_stops, 1, tmp_path, None)[0]
    assert alone["step"][0] == 3
    assert alone["step"][1] == ["batch 1", "batch 2", "batch 3", "validation", "validated", "epoch 0", "end"]
    assert alone["with min_steps"][0] == 11
    for found in run_ranks(_all_stops, 2, tmp_path, None):
        assert found == alone


def test_should_stop_on_one_rank_stops_all(tmp_path: Path) -> None:
    """The others learn of it while they wait for its gradients: after one more step at most."""
    alone = run_ranks(_all_stops, 1, tmp_path, None)[0]
    for rank in (0, 1):
        found = run_ranks(_all_stops, 2, tmp_path, rank)
        assert found[0] == found[1]
        for name, (step, seen) in found[0].items():
            assert alone[name][0] <= step <= alone[name][0] + 1, name
            # One more step after a validation inside the epoch is followed by one of its own, as every early end.
            again = name == "validation inside an epoch" and step > alone[name][0]
            assert seen.count("validated") == alone[name][1].count("validated") + again, name
            assert seen[-2:] == alone[name][1][-2:], name


def _all_stops(own: int, rank: int | None) -> dict[str, Any]:
    found = {}
    for name, (moment, arguments) in STOPS.items():
        story = Story(moment, _stop if rank in (None, own) else None)
        found[name] = (fit(story, **arguments).global_step, story.seen)
    return found


# --- callbacks that stop ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync_dist", [False, True])
@pytest.mark.parametrize("interval", [1.0, 4])
def test_any_rank_may_stop_early(tmp_path: Path, sync_dist: bool, interval: float) -> None:
    """Each rank sees its own metric, or all see the mean: rank 1's gets worse faster than the others' better."""
    found = run_ranks(_early, 3, tmp_path, sync_dist, interval)
    assert {steps for steps, *_ in found} == {interval * 2 if interval == 4 else 16}
    assert len({tuple(seen) for _, seen, *_ in found}) == 1
    waits = [waited for *_, waited in found]
    assert waits == ([1, 1, 1] if sync_dist else [0, 1, 0])


def _early(rank: int, sync_dist: bool, interval: float) -> tuple[int, list[str], int]:
    class Drifting(Net):
        checks = 0

        def on_validation_start(self) -> None:
            self.checks += 1

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", float(self.checks * (4 if rank == 1 else -1)), sync_dist=sync_dist)

    stopping = th.callbacks.EarlyStopping("val_loss", patience=1)
    story = Story()
    arguments = {**QUIET, "max_epochs": 50, "num_sanity_val_steps": 0, "val_check_interval": interval}
    trainer = th.Trainer(**arguments, callbacks=[story, stopping])
    trainer.fit(Drifting(), Loader(8), Loader(2))
    return trainer.global_step, story.seen, stopping.wait_count


@pytest.mark.parametrize("min_steps", [None, 13])
def test_a_time_limit_of_rank_0_ends_all_with_a_last_validation(tmp_path: Path, min_steps: int | None) -> None:
    found = run_ranks(_timed, 2, tmp_path, min_steps)
    assert found[0] == found[1]
    steps, seen = found[0]
    assert steps >= (min_steps or 3)
    assert seen[-4:] == ["validation", "validated", f"epoch {(steps - 1) // 8}", "end"]


def _timed(rank: int, min_steps: int | None) -> tuple[int, list[str]]:
    story = Story()

    def clock() -> float:
        return 100.0 if rank == 0 and "batch 3" in story.seen else 0.0

    timer = th.callbacks.Timer(timedelta(seconds=50), clock=clock)
    trainer = fit(story, timer, max_epochs=100_000, min_steps=min_steps)
    return trainer.global_step, story.seen


def test_a_time_limit_by_epochs_ends_all(tmp_path: Path) -> None:
    assert run_ranks(_timed_by_epochs, 2, tmp_path) == [16, 16]


def _timed_by_epochs(rank: int) -> int:
    story = Story()
    timer = th.callbacks.Timer(
        timedelta(seconds=50), "epoch", clock=lambda: 100.0 if rank == 0 and "batch 12" in story.seen else 0.0
    )
    return fit(story, timer, max_epochs=10).global_step


def test_nothing_of_a_stop_is_left_for_the_next_fit(tmp_path: Path) -> None:
    assert run_ranks(_twice, 2, tmp_path) == [[3, 24]] * 2


def _twice(rank: int) -> list[int]:
    trainer = fit(Story("batch 3", _stop))
    first = trainer.global_step
    again = fit(Story())
    assert torch.is_grad_enabled()
    return [first, again.global_step]
