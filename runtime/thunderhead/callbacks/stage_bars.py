"""A bar per stage on a terminal, lines in a log: when they are shown, and what they say."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TextIO

from thunderhead.arguments import real_number, switch, whole_number
from thunderhead.callbacks.progress import ProgressBar
from thunderhead.core.hooks import StepOutput

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

MIN_SECONDS: Final = 0.1


@dataclass(slots=True)
class Bar:
    """What one bar shows.

    Attributes:
        title: what is running.
        done: batches done.
        total: batches in all, infinite where unknown.
        rate: batches per second since the bar was last drawn.
        metrics: values shown beside it.
    """

    title: str
    done: int = 0
    total: float = math.inf
    rate: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def of(self) -> str:
        """``9/20``, or ``9`` where the total is unknown."""
        return f"{self.done}" if math.isinf(self.total) else f"{self.done}/{int(self.total)}"


class StageBars(ProgressBar):
    """Base of the bars: one for training, one for the evaluation that runs inside or instead of it.

    On a terminal the running bar is redrawn at most ten times a second, and at its end. Elsewhere there is a line per
    interval, and one per validation.

    Args:
        refresh_rate: batches between looks at the clock; 0 shows nothing.
        leave: keep the bar of each epoch on the screen.
        interval_s: seconds between lines where there is no terminal.
        stream: where to write; standard output by default.
        clock: seconds, ever increasing.

    Raises:
        MisconfigurationException: an argument is no number of batches or seconds, or no switch.
    """

    def __init__(
        self,
        refresh_rate: int = 1,
        leave: bool = False,
        *,
        interval_s: float = 10.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stream, clock)
        name = type(self).__name__
        self.refresh_rate = whole_number(f"{name}: refresh_rate", refresh_rate, least=0)
        self.leave = switch(f"{name}: leave", leave)
        self.interval_s = real_number(f"{name}: interval_s", interval_s, least=0)
        self.on_terminal = False
        self._enabled = refresh_rate > 0
        self._batches, self._seconds = self.refresh_rate, MIN_SECONDS
        self._bar = Bar("")
        self._drawn_at, self._drawn_done = -math.inf, 0
        self._train_rate = 0.0
        self._evaluated_batches = 0

    @property
    def is_enabled(self) -> bool:
        """Whether anything is shown."""
        return self._enabled and self.refresh_rate > 0

    def _epoch_title(self, trainer: Trainer) -> str:
        return f"{self.train_description} {trainer.current_epoch}"

    def _evaluation_title(self, trainer: Trainer) -> str:
        name = {"validate": "validation"}.get(str(trainer.state.stage), str(trainer.state.stage))
        title: str = getattr(self, f"{name}_description")
        return title

    # --- drawing, for the kinds of bars ----------------------------------------------------------------------------

    def draw(self, bar: Bar) -> None:
        """Show ``bar`` as it stands."""
        raise NotImplementedError

    def close(self, bar: Bar, *, leave: bool) -> None:
        """``bar`` is over; ``leave`` it on the screen or wipe it away."""
        raise NotImplementedError

    # --- moments -----------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look where the output goes."""
        super().setup(trainer, pl_module, stage)
        self.on_terminal = self.stream.isatty()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: Any, batch_idx: int
    ) -> None:
        """Redraw, or write a line, if it is time."""
        if not self.is_enabled or not self._is_due(batch_idx + 1, trainer.is_last_batch):
            return
        if self.on_terminal:
            self._show(trainer, pl_module, self._epoch_title(trainer), batch_idx + 1, self.total_train_batches)
        else:
            self._write(self._describe(trainer, pl_module, batch_idx + 1))
            self._drawn_at = self._clock()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the epoch's bar with its final values."""
        if not self.is_enabled or not self.on_terminal:
            return
        done = trainer.fit_loop.batches_done
        self._show(trainer, pl_module, self._epoch_title(trainer), done, self.total_train_batches)
        if self.leave:
            self._end(leave=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last bar stays."""
        self._end(leave=True)

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing of the sanity check stays."""
        self._end(leave=False)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Redraw, if it is time."""
        self.has_dataloader_changed(dataloader_idx)
        total, loaders = self.total_val_batches_current_dataloader, len(trainer.num_val_batches)
        self._evaluated(trainer, pl_module, batch_idx + 1, total, loaders)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Redraw, if it is time."""
        self.has_dataloader_changed(dataloader_idx)
        total, loaders = self.total_test_batches_current_dataloader, len(trainer.num_test_batches)
        self._evaluated(trainer, pl_module, batch_idx + 1, total, loaders)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Redraw, if it is time."""
        self.has_dataloader_changed(dataloader_idx)
        total, loaders = self.total_predict_batches_current_dataloader, len(trainer.num_predict_batches)
        self._evaluated(trainer, pl_module, batch_idx + 1, total, loaders)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Inside fit the training bar goes on; in a log, a line tells what was measured."""
        super().on_validation_end(trainer, pl_module)
        if trainer.sanity_checking:
            return
        self._end(leave=trainer.state.fn != "fit")
        if self.is_enabled and not self.on_terminal and trainer.state.fn == "fit":
            values = "".join(f"  {name} {as_text(value)}" for name, value in trainer.progress_bar_metrics.items())
            self._write(f"epoch {trainer.current_epoch}  step {trainer.global_step}  validated{values}")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The bar stays."""
        self._end(leave=True)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The bar stays."""
        self._end(leave=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """What comes next begins on a line of its own."""
        self._end(leave=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The same."""
        self._end(leave=True)

    # --- the running bar ---------------------------------------------------------------------------------------------

    def _evaluated(self, trainer: Trainer, pl_module: LightningModule, done: int, total: float, loaders: int) -> None:
        self._evaluated_batches = done
        if not self.is_enabled or not self._is_due(done, done == total):
            return
        which = f" (loader {self._current_eval_dataloader_idx})" if loaders > 1 else ""
        title = self._evaluation_title(trainer) + which
        if self.on_terminal:
            self._show(trainer, pl_module, title, done, total)
        elif done != total:
            self._write(f"{title.lower()}  batch {Bar(title, done, total).of}")
            self._drawn_at = self._clock()

    def _is_due(self, done: int, last: bool) -> bool:
        if done % self._batches and not last:
            return False
        interval = self._seconds if self.on_terminal else self.interval_s
        if self._drawn_at == -math.inf and not self.on_terminal:
            self._drawn_at = self._clock()
        return (last and self.on_terminal) or self._clock() - self._drawn_at >= interval

    def _show(self, trainer: Trainer, pl_module: LightningModule, title: str, done: int, total: float) -> None:
        now = self._clock()
        seconds = now - self._drawn_at
        if title != self._bar.title:
            # What ran in between does not count: a new bar has the rate of training so far, or none yet.
            self._bar = Bar(title, rate=self._train_rate if trainer.training else 0.0)
        elif done > self._drawn_done and seconds > 0:
            self._bar.rate = (done - self._drawn_done) / seconds
            if trainer.training:
                self._train_rate = self._bar.rate
        bar = self._bar
        bar.done, bar.total = done, total
        bar.metrics = self.get_metrics(trainer, pl_module)
        self._drawn_at, self._drawn_done = now, done
        self.draw(bar)

    def _end(self, *, leave: bool) -> None:
        if self._bar.title:
            self.close(self._bar, leave=leave)
            self._bar = Bar("")

    def _write(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


def as_text(value: object) -> str:
    """A value as it stands beside a bar."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
