"""Bars of the package tqdm, for subclasses that make them themselves, and what there is of others to look at."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TextIO

from thunderhead.callbacks.stage_bars import Bar, StageBars

if TYPE_CHECKING:
    from tqdm import tqdm

    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

_KINDS: Final = ("sanity", "train", "validation", "test", "predict")
# Hooks that nothing but bars of tqdm has a use for.
_MOMENTS: Final = (
    "on_sanity_check_start",
    "on_validation_batch_start",
    "on_test_start",
    "on_test_batch_start",
    "on_predict_start",
    "on_predict_batch_start",
)


class Shown:
    """How far a bar is that is drawn without tqdm, under tqdm's names.

    Attributes:
        n: batches done.
        total: batches in all; None where unknown.
        disable: it is not drawn with tqdm.
    """

    def __init__(self, n: int, total: float) -> None:
        self.n, self.total = n, finite(total)
        self.disable = True


def finite(total: float) -> float | None:
    """None for what tqdm cannot count to."""
    return None if math.isinf(total) or math.isnan(total) else total


class TqdmBars(StageBars):
    """The part of TQDMProgressBar that knows tqdm.

    A subclass with an ``init_train_tqdm`` or its kin draws with what these return, at Lightning's moments; on a
    terminal, since elsewhere lines tell how far a run is. Without such a method tqdm is not even imported.
    """

    BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
    process_position: int

    def __init__(
        self, refresh_rate: int, leave: bool, *, interval_s: float, stream: TextIO | None, clock: Callable[[], float]
    ) -> None:
        super().__init__(refresh_rate, leave, interval_s=interval_s, stream=stream, clock=clock)
        self._bars: dict[str, tqdm[Any]] = {}
        own, base = type(self), TqdmBars
        self._by_tqdm = any(getattr(own, f"init_{k}_tqdm") is not getattr(base, f"init_{k}_tqdm") for k in _KINDS)
        if not self._by_tqdm:
            self.inactive_hooks = frozenset(name for name in _MOMENTS if getattr(own, name) is getattr(base, name))

    def __getstate__(self) -> dict[str, Any]:
        """What is drawn now stays here."""
        return {**super().__getstate__(), "_bars": {}}

    # --- making them: for subclasses to override -------------------------------------------------------------------

    def init_sanity_tqdm(self) -> tqdm[Any]:
        """The bar of the sanity check."""
        return self._made(self.sanity_check_description, leave=False)

    def init_train_tqdm(self) -> tqdm[Any]:
        """The bar of training."""
        return self._made(self.train_description, smoothing=0)

    def init_validation_tqdm(self) -> tqdm[Any]:
        """The bar of validation, below that of training where there is one."""
        inside = self.trainer.state.fn != "validate"
        return self._made(self.validation_description, below=inside, leave=not inside)

    def init_test_tqdm(self) -> tqdm[Any]:
        """The bar of testing."""
        return self._made(self.test_description)

    def init_predict_tqdm(self) -> tqdm[Any]:
        """The bar of prediction."""
        return self._made(self.predict_description, smoothing=0)

    def _made(self, words: str, *, below: bool = False, **options: float) -> tqdm[Any]:
        from thunderhead.callbacks.tqdm_class import Tqdm

        common = {
            "desc": words,
            "position": 2 * self.process_position + below,
            "disable": not self.is_enabled or not self.on_terminal,
            "leave": True,
            "dynamic_ncols": True,
            "file": self._stream or sys.stdout,
            "bar_format": self.BAR_FORMAT,
        }
        return Tqdm(**{**common, **options})

    # --- looking at them -----------------------------------------------------------------------------------------

    @property
    def train_progress_bar(self) -> tqdm[Any] | Shown:
        """The bar of training; where it is drawn without tqdm, its ``n`` and ``total``."""
        return self._shown("train", self.total_train_batches)

    @train_progress_bar.setter
    def train_progress_bar(self, bar: tqdm[Any]) -> None:
        self._bars["train"] = bar

    @property
    def val_progress_bar(self) -> tqdm[Any] | Shown:
        """The same of validation and the sanity check."""
        return self._shown("validation", self.total_val_batches_current_dataloader)

    @val_progress_bar.setter
    def val_progress_bar(self, bar: tqdm[Any]) -> None:
        self._bars["validation"] = bar

    @property
    def test_progress_bar(self) -> tqdm[Any] | Shown:
        """The same of testing."""
        return self._shown("test", self.total_test_batches_current_dataloader)

    @test_progress_bar.setter
    def test_progress_bar(self, bar: tqdm[Any]) -> None:
        self._bars["test"] = bar

    @property
    def predict_progress_bar(self) -> tqdm[Any] | Shown:
        """The same of prediction."""
        return self._shown("predict", self.total_predict_batches_current_dataloader)

    @predict_progress_bar.setter
    def predict_progress_bar(self, bar: tqdm[Any]) -> None:
        self._bars["predict"] = bar

    def _shown(self, kind: str, total: float) -> tqdm[Any] | Shown:
        done = self.trainer.fit_loop.batches_done if kind == "train" else self._evaluated_batches
        bar = self._bars.get(kind)
        if bar is None:
            return Shown(done, total)
        bar.n = done  # it is drawn ten times a second, and may lag behind
        return bar

    # --- moments -------------------------------------------------------------------------------------------------

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make its bar."""
        if self._by_tqdm:
            self.reset_dataloader_idx_tracker()
            self.val_progress_bar = self.init_sanity_tqdm()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the bar of training."""
        super().on_train_start(trainer, pl_module)
        if self._by_tqdm:
            self.train_progress_bar = self.init_train_tqdm()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin it again; with ``leave``, below the one of the epoch before."""
        super().on_train_epoch_start(trainer, pl_module)
        if self._by_tqdm:
            if self.leave:
                self.train_progress_bar = self.init_train_tqdm()
            self._begin("train", self._epoch_title(trainer), self.total_train_batches)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make its bar."""
        super().on_validation_start(trainer, pl_module)
        if self._by_tqdm and not trainer.sanity_checking:
            self.reset_dataloader_idx_tracker()
            self.val_progress_bar = self.init_validation_tqdm()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin it again for another loader."""
        if self._by_tqdm and self.has_dataloader_changed(dataloader_idx):
            words = self.sanity_check_description if trainer.sanity_checking else self.validation_description
            self._begin("validation", _of_loader(words, dataloader_idx), self.total_val_batches_current_dataloader)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make its bar."""
        if self._by_tqdm:
            self.reset_dataloader_idx_tracker()
            self.test_progress_bar = self.init_test_tqdm()

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin it again for another loader."""
        if self._by_tqdm and self.has_dataloader_changed(dataloader_idx):
            words = _of_loader(self.test_description, dataloader_idx)
            self._begin("test", words, self.total_test_batches_current_dataloader)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make its bar."""
        if self._by_tqdm:
            self.reset_dataloader_idx_tracker()
            self.predict_progress_bar = self.init_predict_tqdm()

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin it again for another loader."""
        if self._by_tqdm and self.has_dataloader_changed(dataloader_idx):
            words = _of_loader(self.predict_description, dataloader_idx)
            self._begin("predict", words, self.total_predict_batches_current_dataloader)

    def _begin(self, kind: str, words: str, total: float) -> None:
        bar = self._bars[kind]
        bar.reset()
        bar.total, bar.initial = finite(total), 0
        bar.set_description(words)

    def _running(self) -> str:
        stage = str(self.trainer.state.stage)
        return {"validate": "validation", "sanity_check": "validation"}.get(stage, stage)

    def _draw_by_tqdm(self, bar: Bar) -> None:
        shown = self._bars.get(self._running())
        if shown is not None and not shown.disable:
            shown.n = bar.done
            shown.set_postfix(bar.metrics)

    def _close_running(self) -> None:
        """Validation inside of a fit ends alone; everything else takes all bars along."""
        running = self._running()
        for kind in [running] if running == "validation" else list(self._bars):
            if kind in self._bars:
                self._bars.pop(kind).close()


def _of_loader(words: str, loader: int) -> str:
    return f"{words} DataLoader {loader}"
