"""Methods that look like hooks: which of them are warned of, and that all others are left in peace."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from trainer_line import Line, numbers, trainer

import thunderhead as th
from thunderhead.user.uncalled import uncalled
from thunderhead.warning import PossibleUserWarning


def method(*args: Any) -> None:
    """Of any kind."""


def made(base: type, *names: str) -> type:
    """A class with these methods."""
    return type("Mine", (base,), {**dict.fromkeys(names, method), "__module__": "user"})


MODULE, CALLBACK, DATA = th.LightningModule, th.Callback, th.LightningDataModule


@pytest.mark.parametrize(
    ("base", "name", "said"),
    [
        (MODULE, "on_training_epoch_end", ". Did you mean 'on_train_epoch_end'?"),
        (MODULE, "on_val_epoch_end", ". Did you mean 'on_validation_epoch_end'?"),
        (MODULE, "on_train_epoch_ends", ". Did you mean 'on_train_epoch_end'?"),
        (MODULE, "on_trian_start", ". Did you mean 'on_train_start'?"),
        (MODULE, "on_train_step_end", ". Did you mean 'on_train_batch_end'?"),
        (CALLBACK, "on_fit_begin", ". Did you mean 'on_fit_start'?"),
        (CALLBACK, "on_epoch_end", ": it is gone since Lightning 2.0; use on_train_epoch_end"),
        (CALLBACK, "on_keyboard_interrupt", ": it is gone since Lightning 2.0; use on_exception of a callback"),
        (MODULE, "training_step_end", ": it is gone since Lightning 2.0; use training_step or on_train_batch_end"),
        (MODULE, "on_exception", ": it is a hook of callbacks and datamodules, not of modules"),
        (MODULE, "on_sanity_check_end", ": it is a hook of callbacks, not of modules"),
        (CALLBACK, "on_test_model_eval", ": it is a hook of modules, not of callbacks"),
        (MODULE, "trainig_step", ". Did you mean 'training_step'?"),
        (MODULE, "validaton_step", ". Did you mean 'validation_step'?"),
        (MODULE, "configure_optimizer", ". Did you mean 'configure_optimizers'?"),
        (DATA, "val_dataloder", ". Did you mean 'val_dataloader'?"),
        (DATA, "set_up", ". Did you mean 'setup'?"),
        (DATA, "on_train_epoch_end", ": it is a hook of modules and callbacks, not of datamodules"),
    ],
)
def test_what_is_never_called(base: type, name: str, said: str) -> None:
    assert list(uncalled(made(base, name))) == [f"Mine.{name} is called by no loop{said}"]


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (MODULE, "on_validation_epoch_end_extra"),
        (MODULE, "on_message"),
        (MODULE, "on_the_way"),
        (MODULE, "online"),
        (MODULE, "train_epoch_end"),
        (MODULE, "validate_step"),
        (MODULE, "loss_step"),
        (MODULE, "train_step"),
        (MODULE, "training_steps"),
        (MODULE, "training_step_2"),
        (DATA, "training_stp"),
        (DATA, "train_dataloaders"),
        (CALLBACK, "on_improvement"),
        (CALLBACK, "on_train_loss"),
        (CALLBACK, "training_step"),
        (DATA, "on_download_end"),
    ],
)
def test_ordinary_methods(base: type, name: str) -> None:
    assert list(uncalled(made(base, name))) == []


def test_what_is_there_was_not_misspelt() -> None:
    assert list(uncalled(made(MODULE, "validation_step", "validaton_step"))) == []


@pytest.mark.parametrize("base", [MODULE, CALLBACK, DATA])
def test_every_hook_is_called(base: type) -> None:
    assert list(uncalled(made(base, *(name for name in dir(base) if not name.startswith("_"))))) == []


class Helped(th.Callback):
    """Calls a method of its own."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Both."""
        self.on_training_epoch_end()

    def on_training_epoch_end(self) -> None:
        """Called above."""


class Foreign:
    """A base that is none of ours, with hooks that others call."""

    def on_epoch_end(self) -> None:
        """Of another framework."""


class Decorated(th.LightningModule):
    """Calls from below a decorator, a comprehension, a lambda and a property."""

    @torch.no_grad()
    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """Both."""
        return self.validation_step_end(batch)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Each."""
        return [self.training_step_end(item) for item in batch]

    @property
    def later(self) -> Any:
        """A call to be made."""
        return lambda: self.on_batch_end()

    def validation_step_end(self, x: Any) -> Any:
        """Called above."""

    def training_step_end(self, x: Any) -> Any:
        """Called above."""

    def on_batch_end(self) -> None:
        """Called above."""


class Mixin:
    """Calls what the class that it is mixed into has."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Both."""
        return self.training_step_end(batch)  # type: ignore[attr-defined]  # as mixins do


class Mixed(Mixin, th.LightningModule):
    """Called by its mixin."""

    def training_step_end(self, x: Any) -> Any:
        """Called above."""


@pytest.mark.parametrize("kind", [Decorated, Mixed])
def test_what_is_called_somewhere_in_the_class(kind: type) -> None:
    assert list(uncalled(kind)) == []


def test_what_is_called_by_others() -> None:
    assert list(uncalled(Helped)) == []
    assert list(uncalled(type("Both", (Foreign, th.Callback), {}))) == []


class Misspelt(Line):
    """Hopes to be called."""

    def on_training_epoch_end(self) -> None:
        """Never."""


class Data(th.LightningDataModule):
    """Hopes to be called."""

    def train_dataloader(self) -> Any:
        """One batch."""
        return numbers(1)

    def on_fit_start(self) -> None:
        """Never."""


class Watching(th.Callback):
    """Hopes to be called."""

    def on_val_start(self, trainer: Any, pl_module: Any) -> None:
        """Never."""


class Bringing(Misspelt):
    """Brings the callback itself."""

    def configure_callbacks(self) -> Any:
        """One."""
        return [Watching()]


SAID = [
    "Misspelt.on_training_epoch_end is called by no loop. Did you mean 'on_train_epoch_end'?",
    "Data.on_fit_start is called by no loop: it is a hook of modules and callbacks, not of datamodules",
    "Watching.on_val_start is called by no loop. Did you mean 'on_validation_start'?",
]


@pytest.mark.parametrize(
    ("module", "callbacks", "said"),
    [
        (Misspelt, [Watching], SAID),
        (Bringing, [], [SAID[0].replace("Misspelt", "Bringing"), *SAID[1:]]),
    ],
)
def test_each_is_said_once(module: Callable[[], Any], callbacks: list[Any], said: list[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            trainer(*(callback() for callback in callbacks)).fit(module(), datamodule=Data())
    assert [str(one.message) for one in caught] == said
    assert all(one.category is PossibleUserWarning for one in caught)
