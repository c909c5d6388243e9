"""What is said of an error that a run ends with, and that nothing hides it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trainer_line import Line, numbers, trainer
from trainer_models import QUIET, regression, shuffled
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead.callbacks import Callback
from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers.dummy import DummyLogger


class Full(DummyLogger):
    """A logger without room."""

    def finalize(self, status: str) -> None:
        """Cannot."""
        raise OSError("the disk is full")


class Clumsy(Callback):
    """Fails when it is told of a failure."""

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Cannot."""
        raise KeyError("mine")


class Told(Callback):
    """Keeps what it is told of."""

    def __init__(self) -> None:
        self.heard: list[BaseException] = []

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Keep it."""
        self.heard.append(exception)


class Again(Callback):
    """Raises what it is told of."""

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """As it is."""
        raise exception


class ClumsyData(th.LightningDataModule):
    """Fails when it is told of a failure."""

    train_dataloader = staticmethod(lambda: numbers(1))

    def on_exception(self, exception: BaseException) -> None:
        """Cannot."""
        raise TypeError("data")


def test_whoever_fails_afterwards_does_not_hide_why() -> None:
    """All others are told as well, and what each of them raised stands below the error."""

    class Failing(Line):
        def on_fit_start(self) -> None:
            raise ValueError("here")

    told = Told()
    made = trainer(Clumsy(), Again(), told, logger=Full(), log_every_n_steps=1)
    with pytest.raises(ValueError, match="here") as caught:
        made.fit(Failing(), datamodule=ClumsyData())
    assert told.heard == [caught.value]
    assert [note.partition(" (")[0] for note in caught.value.__notes__] == [
        "Afterwards on_exception of Clumsy raised KeyError: 'mine'",
        "Afterwards on_exception of ClumsyData raised TypeError: data",
        "Afterwards finalize of Full raised OSError: the disk is full",
    ]
    assert all(re.search(rf" \({re.escape(__file__)}, line \d+\)$", note) for note in caught.value.__notes__)
    assert (made.interrupted, made.state.stage) == (True, None)


class Losing(Line):
    """Returns a loss that cannot be trained on."""

    def __init__(self, spoil: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.spoil = spoil

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss, spoilt."""
        return self.spoil(super().training_step(batch, batch_idx))


KEPT: list[Tensor] = []


def kept(loss: Tensor) -> Tensor:
    """All losses so far."""
    KEPT.append(loss * loss)
    return torch.stack(KEPT).sum()


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (torch.Tensor.detach, r"The loss of Losing does not depend on any parameter that requires a gradient: it was"),
        (lambda loss: torch.tensor(loss.item()), r"Return what was computed from the parameters$"),
        (lambda loss: torch.tensor(3), r"made from numbers, or computed under torch\.no_grad\(\)\."),
        (lambda loss: loss.expand(2), r"^The loss of Losing must be one real number; reduce it, with loss\.mean\(\)"),
        (lambda loss: loss.to(torch.complex64), r"^The loss of Losing must be one real number"),
    ],
)
def test_losses_that_cannot_be_trained_on(spoil: Callable[[Tensor], Any], note: str) -> None:
    """The error is torch's; the note says what it means here."""
    KEPT.clear()
    with pytest.raises(RuntimeError) as caught:
        trainer().fit(Losing(spoil), numbers(1, 2))
    assert len(caught.value.__notes__) == 1
    assert re.search(note, caught.value.__notes__[0])


def gone_back(loss: Tensor) -> Tensor:
    """A loss whose gradients are there already."""
    (squared := loss * loss).backward()
    return squared


@pytest.mark.parametrize("spoil", [kept, gone_back])
def test_a_second_backward(spoil: Callable[[Tensor], Any]) -> None:
    """Either reason may be the user's; the likelier comes first."""
    KEPT.clear()
    with pytest.raises(RuntimeError) as caught:
        trainer().fit(Losing(spoil), numbers(1, 2))
    assert caught.value.__notes__ == [
        "If training_step of Losing calls backward() itself, remove that, since Trainer calls it, or set "
        "self.automatic_optimization = False",
        "Else the loss of Losing depends on a tensor that an earlier backward went through; detach() what is kept from "
        "one step to the next",
    ]


def test_a_second_backward_of_ones_own() -> None:
    class Twice(Losing):
        def __init__(self) -> None:
            super().__init__(gone_back)
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(super().training_step(batch, batch_idx))

    with pytest.raises(RuntimeError) as caught:
        trainer().fit(Twice(), numbers(1))
    (note,) = caught.value.__notes__
    assert note.startswith("The loss of Twice depends on a tensor that an earlier backward went through")


@pytest.mark.filterwarnings("ignore:training begins with")
def test_nothing_to_train() -> None:
    module = Line()
    module.freeze()
    with pytest.raises(RuntimeError) as caught:
        trainer().fit(module, numbers(1))
    assert caught.value.__notes__ == [
        "No parameter of Line requires a gradient, so there is nothing to train; unfreeze some, or set "
        "self.automatic_optimization = False"
    ]


@pytest.mark.parametrize("error", [RuntimeError("of the user's"), KeyError("lr"), KeyError()])
def test_other_errors_are_left_alone(error: Exception) -> None:
    def fail(loss: Tensor) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        trainer().fit(Losing(fail), numbers(1))
    assert not hasattr(caught.value, "__notes__")


def test_an_optimizer_with_the_state_of_another(tmp_path: Path) -> None:
    def adam(module: Line) -> Any:
        return torch.optim.Adam(module.parameters())

    made = trainer()
    made.fit(Line(), numbers(1))
    made.save_checkpoint(tmp_path / "a.ckpt")
    found = torch.load(tmp_path / "a.ckpt")
    del found["thunderhead"]["settings"]  # as in files of before, which do not say whose state it is
    torch.save(found, tmp_path / "a.ckpt")
    with pytest.raises(KeyError, match="betas") as caught:
        trainer(max_epochs=2).fit(Line(adam), numbers(1), ckpt_path=tmp_path / "a.ckpt")
    assert caught.value.__notes__ == [
        "Adam needs 'betas', which the state in the checkpoint does not hold: another optimizer wrote it. Return that "
        "one from configure_optimizers, or begin anew from the weights with load_from_checkpoint"
    ]


class Two(Line):
    """Two weights."""

    def __init__(self, configure: Callable[[Any], Any] | None = None) -> None:
        super().__init__(configure)
        self.other = nn.Parameter(torch.zeros(1))


@pytest.mark.parametrize(
    ("groups", "now"),
    [
        (lambda module: [module.weight], r"\[1\]"),
        (lambda module: [{"params": [module.weight]}, {"params": [module.other]}], r"\[1, 1\]"),
    ],
)
def test_other_parameter_groups_than_the_checkpoints(groups: Any, now: str, tmp_path: Path) -> None:
    made = trainer()
    made.fit(Two(), numbers(1))
    made.save_checkpoint(tmp_path / "a.ckpt")
    rule = rf"taken with SGD parameter groups of \[2\] parameters, but configure_optimizers now makes groups of {now};"
    changed = Two(lambda module: torch.optim.SGD(groups(module), 1.0))
    with pytest.raises(MisconfigurationException, match=rule) as caught:
        trainer(max_epochs=2).fit(changed, numbers(1), ckpt_path=tmp_path / "a.ckpt")
    assert isinstance(caught.value.__cause__, ValueError)


class Unready(th.LightningModule):
    """Forgets its base."""

    def __init__(self) -> None:
        self.rate = 1.0


@pytest.mark.parametrize("fn", ["fit", "validate", "test", "predict"])
def test_a_module_whose_base_was_not_initialised(fn: str) -> None:
    rule = (
        rf"^Trainer\.{fn} got a Unready whose __init__ did not call super\(\)\.__init__\(\); make that its first line$"
    )
    with pytest.raises(MisconfigurationException, match=rule):
        getattr(trainer(), fn)(Unready(), numbers(1))


class Partly(th.LightningModule):
    """Uses one of its two layers."""

    def __init__(self, automatic: bool) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(4, 1), nn.Linear(4, 1)
        self.automatic_optimization = automatic

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Something of the one layer."""
        loss = self.used(batch[0]).mean()
        if self.automatic_optimization:
            return loss
        self.manual_backward(loss)
        self.optimizers().step()
        return None

    def configure_optimizers(self) -> Any:
        """SGD."""
        return torch.optim.SGD(self.parameters(), 0.1)


def _notes(rank: int, automatic: bool) -> list[str]:
    with pytest.raises(RuntimeError, match="Expected to have finished reduction") as caught:
        th.Trainer(**QUIET, max_epochs=1).fit(Partly(automatic), shuffled(regression(16), batch_size=2))
    return list(caught.value.__notes__)


@pytest.mark.parametrize("automatic", [True, False])
def test_unused_parameters_under_ddp(automatic: bool, tmp_path: Path) -> None:
    said = (
        "The step before gave spare.weight, spare.bias of Partly no gradient. Use them in training_step, freeze them, "
        "or pass Trainer(strategy='ddp_find_unused_parameters_true'); an object takes find_unused_parameters=True"
    )
    assert run_ranks(_notes, 2, tmp_path, automatic) == [[said]] * 2


def test_the_note_reaches_the_process_that_started_the_ranks() -> None:
    with pytest.raises(RuntimeError, match="Expected to have finished reduction") as caught:
        th.Trainer(**QUIET, max_epochs=1, strategy="ddp_fork", devices=2).fit(Partly(True), shuffled(regression(16), 2))
    assert any("strategy='ddp_fork_find_unused_parameters_true'" in note for note in caught.value.__notes__)
