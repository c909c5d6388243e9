"""What was edited between a stop and the resume: told, never silent, and never a wrong place in the data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from trainer_job import MemoryLink, StopAt
from trainer_models import QUIET, Net, bits, in_order, regression, shuffled

import thunderhead as th
from thunderhead import job
from thunderhead.job.board import Word
from thunderhead.job.errors import Stopped
from thunderhead.job.link import CheckpointPolicy
from thunderhead.job.stop import boundary_tick, evaluation_tick

Commits = dict[int, tuple[Any, Any]]
MODULE = CheckpointPolicy(module_settings=True)


@pytest.fixture(autouse=True)
def _detach() -> Iterator[None]:
    yield
    job.attach(None)


class Seen(th.Callback):
    """What the run went through: (epoch, batch, lr of the step), and its ends of epochs."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, float]] = []
        self.epochs: list[int] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append((trainer.current_epoch, batch_idx, trainer.optimizers[0].param_groups[0]["lr"]))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.epochs.append(trainer.current_epoch)


class Tuned(Net):
    """Any optimizer and scheduler."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        super().__init__()
        self.make = make

    def configure_optimizers(self) -> Any:
        return self.make(self.parameters())


def tuned(make: Callable[[Any], Any]) -> Tuned:
    """The same weights each time."""
    th.seed_everything(3, verbose=False)
    return Tuned(make)


def plain(**arguments: Any) -> Net:
    """The same weights each time."""
    th.seed_everything(3, verbose=False)
    return Net(**arguments)


def fit(
    link: MemoryLink | None, net: Net, loader: Any = None, ckpt_path: str | None = None, **arguments: Any
) -> tuple[th.Trainer, Seen, list[str]]:
    """Three epochs, of five batches unless the loader has others; with what was warned of."""
    job.attach(link)
    th.seed_everything(3, verbose=False)
    seen = Seen()
    trainer = th.Trainer(**{**QUIET, "max_epochs": 3, **arguments}, callbacks=[seen])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(net, shuffled() if loader is None else loader, in_order(), ckpt_path=ckpt_path)
    return trainer, seen, [str(warning.message) for warning in caught]


def stopped(tmp_path: Path, net: Net, tick: int, loader: Any = None, **arguments: Any) -> Commits:
    commits: Commits = {}
    with pytest.raises(Stopped):
        fit(MemoryLink(tmp_path, commits, stop=StopAt(tick)), net, loader, **arguments)
    return commits


# --- settings ----------------------------------------------------------------------------------------------------


def sgd(lr: float, **more: Any) -> Callable[[Any], Any]:
    return lambda parameters: torch.optim.SGD(parameters, lr=lr, **more)


def adam(**more: Any) -> Callable[[Any], Any]:
    return lambda parameters: torch.optim.AdamW(parameters, lr=0.01, **more)


def stepped(lr: float, size: int = 3, gamma: float = 0.5) -> Callable[[Any], Any]:
    def make(parameters: Any) -> Any:
        optimizer = torch.optim.AdamW(parameters, lr=lr)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, size, gamma=gamma)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    return make


def one_cycle(steps: int) -> Callable[[Any], Any]:
    def make(parameters: Any) -> Any:
        optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    return make


def warmed(lr: float, milestone: int) -> Callable[[Any], Any]:
    def make(parameters: Any) -> Any:
        optimizer = torch.optim.SGD(parameters, lr=lr)
        schedules = torch.optim.lr_scheduler
        parts = [schedules.LinearLR(optimizer, 0.1, total_iters=4), schedules.ExponentialLR(optimizer, 0.9)]
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedules.SequentialLR(optimizer, parts, [milestone]), "interval": "step"},
        }

    return make


def dropped(*milestones: int) -> Callable[[Any], Any]:
    def make(parameters: Any) -> Any:
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    return make


EDITS = {
    "learning rate": (sgd(0.01), sgd(0.003), ["SGD lr: 0.01, now 0.003"]),
    "momentum": (sgd(0.01, momentum=0.9), sgd(0.01, momentum=0.5), ["SGD momentum: 0.9, now 0.5"]),
    "what needs state": (adam(), adam(amsgrad=True), ["AdamW amsgrad: False, now True"]),
    "learning rate under a scheduler": (stepped(0.01), stepped(0.02), ["AdamW lr: 0.01, now 0.02"]),
    "decay of a scheduler": (stepped(0.01), stepped(0.01, gamma=0.1), ["StepLR gamma: 0.5, now 0.1"]),
    "length of a schedule": (one_cycle(15), one_cycle(30), ["OneCycleLR total_steps: 15, now 30"]),
    "steps of a decay": (dropped(9), dropped(11), ["MultiStepLR milestones.11: None, now 1"]),
    "one step more": (dropped(9), dropped(9, 12), ["MultiStepLR milestones.12: None, now 1"]),
    "milestones": (warmed(0.1, 4), warmed(0.1, 6), ["SequentialLR _milestones[0]: 4, now 6"]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_checkpoints_settings_stand_and_are_told(tmp_path: Path, edit: str) -> None:
    before, after, lines = EDITS[edit]
    commits = stopped(tmp_path, tuned(before), boundary_tick(7))
    same, _, silent = fit(MemoryLink(tmp_path, dict(commits)), tuned(before))
    assert not [line for line in silent if "settings" in line]
    edited, _, said = fit(MemoryLink(tmp_path, commits), tuned(after))
    assert bits(edited.lightning_module) == bits(same.lightning_module)
    (told,) = [line for line in said if "settings" in line]
    for line in lines:
        assert line in told
    assert "spec.checkpoint.settingsFrom: Module" in told


@pytest.mark.parametrize("policy", [None, MODULE], ids=["stand", "taken"])
def test_another_kind_of_optimizer_is_refused_before_its_first_step(
    tmp_path: Path, policy: CheckpointPolicy | None
) -> None:
    commits = stopped(tmp_path, tuned(adam()), boundary_tick(3))
    refused = "taken with AdamW, but configure_optimizers now makes SGD, which needs dampening, momentum, nesterov"
    with pytest.raises(th.MisconfigurationException, match=refused):
        fit(MemoryLink(tmp_path, commits, policy=policy), tuned(sgd(0.01)))


def test_one_that_needs_no_more_takes_its_place(tmp_path: Path) -> None:
    commits = stopped(tmp_path, tuned(lambda parameters: torch.optim.Adam(parameters, lr=0.01)), boundary_tick(3))
    _, _, said = fit(MemoryLink(tmp_path, commits), tuned(adam()))
    assert any("class Adam, now AdamW" in line for line in said)


def test_a_difference_that_stands_is_told_again_and_can_be_taken_later(tmp_path: Path) -> None:
    commits = stopped(tmp_path, tuned(sgd(0.01)), boundary_tick(3))
    with pytest.raises(Stopped):
        fit(MemoryLink(tmp_path, commits, stop=StopAt(boundary_tick(6))), tuned(sgd(0.003)))
    _, seen, said = fit(MemoryLink(tmp_path, commits, policy=MODULE), tuned(sgd(0.003)))
    assert any("SGD lr: 0.01, now 0.003" in line for line in said)
    assert {lr for _, _, lr in seen.steps} == {0.003}


@pytest.mark.parametrize("edit", EDITS)
def test_taken_they_are_what_a_run_with_them_would_have(tmp_path: Path, edit: str) -> None:
    before, after, lines = EDITS[edit]
    commits = stopped(tmp_path, tuned(before), boundary_tick(7))
    trainer, _, said = fit(MemoryLink(tmp_path, commits, policy=MODULE), tuned(after))
    (told,) = [line for line in said if "settings" in line]
    assert all(line in told for line in lines)
    fresh, _, _ = fit(None, tuned(after))
    for one, other in zip(trainer.optimizers, fresh.optimizers, strict=True):
        for mine, theirs in zip(one.param_groups, other.param_groups, strict=True):
            assert {k: v for k, v in mine.items() if k not in ("params", "lr")} == {
                k: v for k, v in theirs.items() if k not in ("params", "lr")
            } or edit == "length of a schedule"
    if edit == "learning rate under a scheduler":
        # Seven steps, a decay every third: what the schedule made of the rate is kept, of the new one.
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.02 * 0.5**5)
    if edit not in ("learning rate", "momentum", "what needs state", "learning rate under a scheduler"):
        states = [t.lr_scheduler_configs[0].scheduler.state_dict() for t in (trainer, fresh)]
        for key in ("gamma", "_milestones", "milestones", "total_steps"):
            assert states[0].get(key) == states[1].get(key)


def test_with_nothing_edited_taking_the_modules_settings_changes_no_bit(tmp_path: Path) -> None:
    whole, _, _ = fit(MemoryLink(tmp_path), tuned(stepped(0.01)))
    commits = stopped(tmp_path, tuned(stepped(0.01)), boundary_tick(7))
    resumed, _, said = fit(MemoryLink(tmp_path, commits, policy=MODULE), tuned(stepped(0.01)))
    assert bits(resumed.lightning_module) == bits(whole.lightning_module)
    assert not [line for line in said if "settings" in line]


def test_a_file_of_ones_own_tells_too_and_says_what_a_script_can_do(tmp_path: Path) -> None:
    trainer, _, _ = fit(None, tuned(sgd(0.01)), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    _, seen, said = fit(None, tuned(sgd(0.003)), ckpt_path=str(tmp_path / "one.ckpt"))
    assert {lr for _, _, lr in seen.steps} == {0.01}
    (told,) = [line for line in said if "settings" in line]
    assert "SGD lr: 0.01, now 0.003" in told
    assert "on_train_start" in told


# --- the place in the data ---------------------------------------------------------------------------------------


def loader(batch_size: int = 8, samples: int = 40, *, shuffle: bool = True) -> DataLoader[Any]:
    return DataLoader(regression(samples), batch_size=batch_size, shuffle=shuffle)


@pytest.mark.parametrize(
    ("now", "per_epoch"),
    [
        (lambda: loader(4), 10),
        (lambda: loader(20), 2),
        (lambda: loader(8, 80), 10),
        (lambda: loader(8, 38), 5),
        (lambda: loader(shuffle=False), 5),
    ],
    ids=["smaller batches", "larger batches", "more data", "less data, as many batches", "another order"],
)
def test_a_place_that_means_something_else_ends_its_epoch(
    tmp_path: Path, now: Callable[[], Any], per_epoch: int
) -> None:
    commits = stopped(tmp_path, plain(), boundary_tick(7), loader())
    link = MemoryLink(tmp_path, commits)
    trainer, seen, said = fit(link, plain(), now())
    assert [(epoch, batch) for epoch, batch, _ in seen.steps] == [(2, batch) for batch in range(per_epoch)]
    assert seen.epochs == [1, 2], "the epoch that is cut is ended as any other"
    (told,) = [line for line in said if "means something else" in line]
    assert "after batch 2 of epoch 1" in told
    assert "5 batches of 8 from 40 samples" in told
    assert trainer.global_step == 7 + per_epoch
    assert link.board.words[Word.MAX_STEPS] == trainer.global_step


@pytest.mark.parametrize("tick", [boundary_tick(5), evaluation_tick(5, 0, 1)], ids=["at its end", "in its validation"])
def test_an_epoch_that_was_trained_to_its_end_is_not_trained_on(tmp_path: Path, tick: int) -> None:
    commits = stopped(tmp_path, plain(), tick, loader())
    trainer, seen, _ = fit(MemoryLink(tmp_path, commits), plain(), loader(4))
    assert [(epoch, batch) for epoch, batch, _ in seen.steps] == [(e, b) for e in (1, 2) for b in range(10)]
    assert trainer.global_step == 25


def test_max_steps_stands_with_other_batches(tmp_path: Path) -> None:
    commits = stopped(tmp_path, plain(), boundary_tick(7), loader(), max_steps=12)
    link = MemoryLink(tmp_path, commits)
    trainer, _, _ = fit(link, plain(), loader(4), max_steps=12)
    assert trainer.global_step == 12
    assert link.board.words[Word.MAX_STEPS] == 12


def test_schedules_by_epoch_count_the_epoch_that_is_cut(tmp_path: Path) -> None:
    """One step of the scheduler for each epoch, also where the cut epoch had stepped it already."""
    for step in (5, 7):
        commits = stopped(tmp_path, plain(scheduler="epoch"), boundary_tick(step), loader())
        trainer, _, _ = fit(MemoryLink(tmp_path, commits), plain(scheduler="epoch"), loader(4))
        assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 3


def test_fewer_batches_by_a_limit_are_the_same_place(tmp_path: Path) -> None:
    commits = stopped(tmp_path, plain(), boundary_tick(7), loader())
    _, seen, said = fit(MemoryLink(tmp_path, commits), plain(), loader(), limit_train_batches=4)
    assert [(epoch, batch) for epoch, batch, _ in seen.steps] == [(1, 2), (1, 3), *((2, b) for b in range(4))]
    assert not [line for line in said if "means something else" in line]


def test_between_two_epochs_any_data_will_do(tmp_path: Path) -> None:
    trainer, _, _ = fit(None, plain(), loader(), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    _, seen, said = fit(None, plain(), loader(4), ckpt_path=str(tmp_path / "one.ckpt"))
    assert len(seen.steps) == 20
    assert not [line for line in said if "means something else" in line]


def test_a_sampler_that_makes_epochs_of_different_lengths_is_no_edit(tmp_path: Path) -> None:
    class Growing(torch.utils.data.Sampler[list[int]]):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[list[int]]:
            return iter([[i, i + 1] for i in range(len(self))])

        def __len__(self) -> int:
            return 4 + self.epoch

    def growing() -> Any:
        return DataLoader(regression(), batch_sampler=Growing())

    whole, _, _ = fit(MemoryLink(tmp_path), plain(), growing())
    commits = stopped(tmp_path, plain(), boundary_tick(6), growing())
    resumed, seen, said = fit(MemoryLink(tmp_path, commits), plain(), growing())
    assert not [line for line in said if "means something else" in line]
    assert [(epoch, batch) for epoch, batch, _ in seen.steps][:2] == [(1, 2), (1, 3)]
    assert bits(resumed.lightning_module) == bits(whole.lightning_module)


def test_the_job_is_told_as_well(tmp_path: Path) -> None:
    commits = stopped(tmp_path, tuned(sgd(0.01)), boundary_tick(7), loader())
    link = MemoryLink(tmp_path, commits)
    _, _, said = fit(link, tuned(sgd(0.003)), loader(4))
    told = link.board.notes()["resumed"]
    assert len(told) == 2
    assert all(any(line.startswith(note) for line in said) for note in told)
