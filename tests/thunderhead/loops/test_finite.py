"""A loss or a parameter that is no number: told once with its step, and every commit says whether it is from before."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from trainer_job import MemoryLink, StopAt
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead import job
from thunderhead.job.board import Board
from thunderhead.job.errors import Stopped
from thunderhead.job.link import CheckpointPolicy
from thunderhead.job.notes import Notes
from thunderhead.job.stop import boundary_tick
from thunderhead.loops.finite import FiniteWatch, has_finite_parameters


@pytest.fixture(autouse=True)
def _detach() -> Iterator[None]:
    yield
    job.attach(None)


class Breaking(Net):
    """Its losses from ``at`` on are ``value``, for ``times`` steps; counted in optimizer steps done."""

    def __init__(self, at: int, value: float, times: int = 10**9) -> None:
        super().__init__()
        self.at, self.value, self.times = at, value, times

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return loss * self.value if self.at <= self.global_step < self.at + self.times else loss


class Manual(Breaking):
    """The same by hand; what it returns is no loss to anybody but the watch."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return {"loss": loss}


def fit(link: MemoryLink, net: Net, **arguments: Any) -> th.Trainer:
    job.attach(link)
    th.seed_everything(1, verbose=False)
    trainer = th.Trainer(**{**QUIET, "max_epochs": 2, **arguments})
    trainer.fit(net, shuffled(), in_order())
    return trainer


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "thunderhead.loops.finite"]


@pytest.mark.parametrize("kind", [Breaking, Manual])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_told_once_with_its_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: type[Breaking], value: float
) -> None:
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=2))
    fit(link, kind(4, value))
    assert link.board.notes()["non_finite_step"] == 5
    (message,) = said(caplog)
    assert message.startswith("the loss of step 5 is ")
    assert link.checkpoints.finite == {2: True, 4: True, 6: False, 8: False, 10: False}


def test_one_bad_loss_counts_although_those_after_it_are_numbers(tmp_path: Path) -> None:
    class Harmless(Breaking):
        def optimizer_step(self, *args: Any, **options: Any) -> None:
            super().optimizer_step(*args, **options)
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.nan_to_num_()

    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=5))
    fit(link, Harmless(2, math.nan, times=1))
    assert link.board.notes()["non_finite_step"] == 3
    assert link.checkpoints.finite == {5: False, 10: False}


def test_a_window_of_several_batches_has_one_step(tmp_path: Path) -> None:
    link = MemoryLink(tmp_path)
    fit(link, Breaking(1, math.nan), accumulate_grad_batches=2)
    assert link.board.notes()["non_finite_step"] == 2


def test_a_parameter_that_is_no_number_is_found_at_the_next_save(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Spoilt(Net):
        def on_train_batch_end(self, *_: Any) -> None:
            if self.global_step == 5:
                torch.nn.init.constant_(next(self.parameters()), math.nan)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx).nan_to_num(0.0)

    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=3))
    fit(link, Spoilt())
    assert link.checkpoints.finite == {3: True, 6: False, 9: False, 10: False}
    assert [message.partition(". ")[0] for message in said(caplog)] == ["a parameter is no finite number after step 6"]


def test_who_trains_well_is_told_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=5))
    fit(link, Net())
    assert set(link.checkpoints.finite.values()) == {True}
    assert "non_finite_step" not in link.board.notes()
    assert said(caplog) == []


def test_an_attempt_that_goes_on_knows_and_does_not_say_it_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commits: dict[int, Any] = {}
    with pytest.raises(Stopped):
        fit(MemoryLink(tmp_path, commits, stop=StopAt(boundary_tick(6))), Breaking(4, math.nan))
    assert len(said(caplog)) == 1
    caplog.clear()
    link = MemoryLink(tmp_path, commits)
    fit(link, Breaking(4, math.nan))
    assert link.board.notes()["non_finite_step"] == 5
    assert said(caplog) == []


@pytest.mark.parametrize(
    ("own", "said_first"),
    [
        pytest.param(
            10**9, "on another rank the loss of step 5, or a parameter after it, is no finite number", id="none"
        ),
        pytest.param(5, "the loss of step 6 is nan", id="later, by the gradients of the other"),
    ],
)
def test_what_another_rank_found_is_told_by_the_one_that_speaks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, own: int, said_first: str
) -> None:
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=6))
    link.checkpoints.elsewhere = {6: 5, 10: 5}
    fit(link, Breaking(own, math.nan))
    assert link.board.notes()["non_finite_step"] == 5
    assert [message.partition(". ")[0] for message in said(caplog)] == [said_first]
    assert link.checkpoints.finite == {6: own == 10**9, 10: False}


@pytest.fixture
def watch(tmp_path: Path) -> FiniteWatch:
    return FiniteWatch(Notes(Board.create(tmp_path / "board")), speaks=False)


def test_the_losses_of_a_whole_second_are_read_at_once(watch: FiniteWatch) -> None:
    """From a device they come over while training goes on; one look never waits for what it sends for."""
    for step in range(1000):
        watch.put(step, torch.tensor(math.nan if step >= 700 else 1.0), at_once=False)
    watch.look(wait=False)
    assert watch.first is None
    watch.look(wait=False)
    assert watch.first == 700


@pytest.mark.parametrize("bad", [0, 1023, 1024, 5000, None])
def test_more_batches_than_a_row_holds(watch: FiniteWatch, bad: int | None) -> None:
    for step in range(5001):
        watch.put(step, torch.tensor([math.inf if step == bad else 1.0]), at_once=False)
    watch.look(wait=True)
    assert watch.first == bad


class Operations(TorchDispatchMode):
    """What torch is asked to do; on a device each would be a kernel, or two."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_look_costs_the_same_however_many_losses_there_are(watch: FiniteWatch) -> None:
    counts = []
    for losses in (1, 500):
        for step in range(losses):
            watch.put(step, torch.tensor(1.0), at_once=False)
        with Operations() as operations:
            watch.look(wait=False)
        counts.append(len(operations.names))
    assert counts[0] == counts[1] <= 3


def test_a_loss_on_a_device_is_one_copy_there(watch: FiniteWatch) -> None:
    loss = torch.tensor(1.0)
    watch.put(0, loss, at_once=False)
    with Operations() as operations:
        watch.put(1, loss, at_once=False)
    assert [name for name in operations.names if "select" not in name] == ["aten.copy_.default"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_loss_is_let_go_of(watch: FiniteWatch, at_once: bool) -> None:
    """It may be a view of much more."""
    whole = np.ones(1000)
    watch.put(1, torch.from_numpy(whole)[3], at_once=at_once)
    alive = weakref.ref(whole)
    del whole
    assert alive() is None


class Static(Manual):
    """Its losses are all in the same place, as those of a captured graph are; one of them is no number."""

    def __init__(self, at: int, *, host: bool) -> None:
        super().__init__(at, math.nan, times=1)
        self.host = host
        self.place = torch.zeros(())

    def on_train_start(self) -> None:
        self.trainer._training.results.host = self.host

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = Net.training_step(self, batch, batch_idx)
        self.place.fill_(math.nan if self.global_step == self.at else 1.0)
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return {"loss": self.place}


@pytest.mark.parametrize("host", [True, False])
def test_a_loss_whose_place_the_next_one_takes(tmp_path: Path, host: bool) -> None:
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=5))
    fit(link, Static(2, host=host))
    assert link.board.notes()["non_finite_step"] == 3
    assert link.checkpoints.finite == {5: False, 10: False}


STRANGE = {
    "several": torch.ones(3),
    "none": torch.empty(0),
    "complex": torch.tensor(1j),
    "meta": torch.empty((), device="meta"),
    "sparse": torch.ones(2).to_sparse(),
    "integer": torch.tensor(3),
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("at_once", [True, False])
def test_strange_losses_say_nothing_and_hide_nothing(watch: FiniteWatch, kind: str, at_once: bool) -> None:
    watch.put(1, STRANGE[kind], at_once=at_once)
    watch.put(2, torch.tensor(1.0), at_once=at_once)
    watch.put(3, torch.tensor(math.nan), at_once=at_once)
    watch.put(4, STRANGE[kind], at_once=at_once)
    watch.look(wait=True)
    assert watch.first == 3


def test_a_device_that_fails_is_left_to_training(watch: FiniteWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("thunderhead.loops.finite.HostCopy.numbers", fail)
    for step in range(5000):
        watch.put(step, torch.tensor(1.0), at_once=False)
    watch.look(wait=True)
    assert watch.first is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1.0])
def test_parameters_of_every_kind(dtype: torch.dtype, value: float) -> None:
    module = torch.nn.ParameterList([torch.full((3,), 2.0, dtype=dtype), torch.tensor([1.0, value], dtype=dtype)])
    module.append(torch.nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False))
    assert has_finite_parameters(module) is (value == 1.0)


def test_large_numbers_and_none_at_all_are_finite() -> None:
    assert has_finite_parameters(torch.nn.ParameterList([torch.full((100,), 3e38)]))
    assert has_finite_parameters(torch.nn.ReLU())


ODD = {
    "empty": torch.empty(0, 3),
    "sparse": torch.ones(2, 2).to_sparse(),
    "meta": torch.empty(3, device="meta"),
    "quarter": torch.ones(2).to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("value", [math.nan, 1.0])
def test_parameters_without_a_magnitude_say_nothing_and_hide_nothing(kind: str, value: float) -> None:
    module = torch.nn.ParameterList([torch.nn.Parameter(ODD[kind], requires_grad=False), torch.tensor([2.0, value])])
    module.append(torch.nn.UninitializedParameter())
    assert has_finite_parameters(module) is (value == 1.0)


def test_what_cannot_be_looked_at_ends_no_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError("no such norm")

    monkeypatch.setattr(torch.nn.utils, "get_total_norm", refuse)
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=5))
    fit(link, Net())
    assert link.checkpoints.finite == {5: True, 10: True}


def test_a_module_with_an_empty_parameter_is_saved(tmp_path: Path) -> None:
    class Padded(Net):
        def __init__(self) -> None:
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.empty(0))

    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=5))
    fit(link, Padded())
    assert link.checkpoints.finite == {5: True, 10: True}
