"""Showing progress: a bar on a terminal, a line per interval in a log."""

from __future__ import annotations

import io
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from thunderhead import standing
from thunderhead.arguments import real_number, whole_number
from thunderhead.callbacks.pace import Pace
from thunderhead.core.hooks import StepOutput
from thunderhead.user.callback import Callback

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class ProgressBar(Callback):
    """Base of all progress displays.

    Args:
        stream: where to write; standard output by default.
        clock: seconds, ever increasing.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._trainer: Trainer | None = None
        self._current_eval_dataloader_idx: int | None = None
        self._enabled = True
        self._pace = Pace()
        self._shown_at = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """A copy is another run's: it has no trainer yet, and writes to the standard output of where it is."""
        kept = self._stream if not isinstance(self._stream, io.TextIOWrapper) else None
        return {**self.__dict__, "_trainer": None, "_stream": kept}

    @property
    def stream(self) -> TextIO:
        """Where it writes."""
        return self._stream if self._stream is not None else sys.stdout

    @property
    def trainer(self) -> Trainer:
        """The trainer whose progress it shows.

        Raises:
            TypeError: no run has begun yet.
        """
        if self._trainer is None:
            raise TypeError(f"{type(self).__name__} has no trainer before a run begins (setup)")
        return self._trainer

    # --- what is shown: words and totals, to override --------------------------------------------------------------

    @property
    def sanity_check_description(self) -> str:
        """What the sanity check is called."""
        return "Sanity check"

    @property
    def train_description(self) -> str:
        """What training is called; when overridden it stands before the number of the epoch."""
        return "Epoch"

    @property
    def validation_description(self) -> str:
        """What validation is called."""
        return "Validation"

    @property
    def test_description(self) -> str:
        """What testing is called."""
        return "Testing"

    @property
    def predict_description(self) -> str:
        """What prediction is called."""
        return "Predicting"

    @property
    def total_train_batches(self) -> int | float:
        """Training batches of the running epoch, fewer where ``max_steps`` ends it; infinite where unknown."""
        t = self.trainer
        if t.max_epochs == -1 and t.max_steps > 0:
            left: int = t.max_steps - t.global_step
            return min(t.num_training_batches, t.fit_loop.batches_done + left)
        return t.num_training_batches

    @property
    def total_val_batches(self) -> int | float:
        """Validation batches of all loaders; 0 in epochs without validation."""
        every = self.trainer.check_val_every_n_epoch
        due = every is None or (self.trainer.current_epoch + 1) % int(every) == 0
        return sum(self.trainer.num_val_batches) if due else 0

    @property
    def total_val_batches_current_dataloader(self) -> int | float:
        """Validation (or sanity check) batches of the running loader."""
        t = self.trainer
        return self._of_current(t.num_sanity_val_batches if t.sanity_checking else t.num_val_batches)

    @property
    def total_test_batches_current_dataloader(self) -> int | float:
        """Test batches of the running loader."""
        return self._of_current(self.trainer.num_test_batches)

    @property
    def total_predict_batches_current_dataloader(self) -> int | float:
        """Prediction batches of the running loader."""
        return self._of_current(self.trainer.num_predict_batches)

    def has_dataloader_changed(self, dataloader_idx: int) -> bool:
        """Note which loader is running; whether it is another than before."""
        before, self._current_eval_dataloader_idx = self._current_eval_dataloader_idx, dataloader_idx
        return before != dataloader_idx

    def reset_dataloader_idx_tracker(self) -> None:
        """No loader is running."""
        self._current_eval_dataloader_idx = None

    def _of_current(self, batches: Sequence[float]) -> float:
        return batches[self._current_eval_dataloader_idx or 0]

    # --- showing ---------------------------------------------------------------------------------------------------

    @property
    def is_enabled(self) -> bool:
        """Whether anything is shown."""
        return self._enabled

    @property
    def is_disabled(self) -> bool:
        """Whether nothing is shown."""
        return not self.is_enabled

    def disable(self) -> None:
        """Show nothing from now on."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress again."""
        self._enabled = True

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float]:
        """What to show beside the progress; override to add or drop values."""
        shown: dict[str, int | str | float] = {}
        if trainer.loggers and (version := trainer.loggers[0].version) not in (None, ""):
            shown["v_num"] = version
        shown.update(trainer.progress_bar_metrics)
        return shown

    def print(self, *values: object, **options: Any) -> None:
        """Print without tearing the display."""
        print(*values, **options)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Only rank 0 shows progress."""
        self._trainer = trainer
        if not trainer.is_global_zero:
            self.disable()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first interval begins, and perhaps the rest of an epoch."""
        self._shown_at = self._clock()
        self._pace = Pace()
        self._pace.begin(self._shown_at, trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Each epoch has a rate of its own."""
        self._pace.begin(self._clock(), trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Its time is none of training's."""
        self._pace.pause(self._clock())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training goes on."""
        self._pace.go_on(self._clock())

    def _describe(self, trainer: Trainer, pl_module: LightningModule, batch: int) -> str:
        self._shown_at = now = self._clock()
        rate = self._pace.rate(now, trainer.global_step)
        total = trainer.num_training_batches
        of = "" if math.isinf(total) else f"/{int(total)}"
        parts = [
            f"epoch {trainer.current_epoch}",
            f"batch {batch}{of}",
            f"step {trainer.global_step}",
            f"{rate:.1f} steps/s" if rate >= 1 or not rate else f"{rate:.2g} steps/s",
        ]
        return "  ".join(
            parts + [f"{k} {_number(v)}" for k, v in self.get_metrics(trainer, pl_module).items() if k != "v_num"]
        )


class LineProgress(ProgressBar):
    """One line per interval, for logs.

    Args:
        interval_s: seconds between lines.
        stream: where to write; standard output by default.
        clock: seconds, ever increasing.

    Raises:
        MisconfigurationException: ``interval_s`` is no number of seconds.
    """

    def __init__(
        self, interval_s: float = 10.0, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream, clock)
        self.interval_s = real_number("LineProgress: interval_s", interval_s, least=0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: Any, batch_idx: int
    ) -> None:
        """A line, if the interval is over."""
        if self._enabled and self._clock() - self._shown_at >= self.interval_s:
            self._write(self._describe(trainer, pl_module, batch_idx + 1))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A line with what validation measured."""
        super().on_validation_end(trainer, pl_module)
        if self._enabled and trainer.state.fn == "fit" and not trainer.sanity_checking:
            values = "  ".join(f"{name} {_number(value)}" for name, value in trainer.progress_bar_metrics.items())
            self._write(f"epoch {trainer.current_epoch}  step {trainer.global_step}  validated  {values}".rstrip())

    def _write(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


class TerminalProgress(ProgressBar):
    """A bar that is redrawn in place, at most ten times a second.

    Args:
        refresh_rate: batches between looks at the clock; 0 shows nothing.
        stream: where to write; standard output by default.
        clock: seconds, ever increasing.

    Raises:
        MisconfigurationException: ``refresh_rate`` is no number of batches.
    """

    _MIN_SECONDS = 0.1

    def __init__(
        self, refresh_rate: int = 1, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream, clock)
        self.refresh_rate = whole_number("TerminalProgress: refresh_rate", refresh_rate, least=0)
        self._enabled = refresh_rate > 0
        self._drawn = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: Any, batch_idx: int
    ) -> None:
        """Redraw, if it is time."""
        if not self._enabled or (batch_idx + 1) % self.refresh_rate:
            return
        if trainer.is_last_batch or self._clock() - self._shown_at >= self._MIN_SECONDS:
            self._draw(trainer, pl_module, batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last bar of the epoch and begin a new line."""
        if self._enabled and self._drawn:
            self._draw(trainer, pl_module, trainer.fit_loop.batches_done)
            self._leave()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """What comes next begins on a line of its own."""
        self._leave()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The same."""
        self._leave()

    def print(self, *values: object, **options: Any) -> None:
        """Print on a line of its own."""
        if self._drawn:
            self.stream.write("\r\x1b[2K")
            standing.forget()
        print(*values, **options)

    def _leave(self) -> None:
        if self._drawn:
            standing.step_off()
            self._drawn = False

    def _draw(self, trainer: Trainer, pl_module: LightningModule, batch: int) -> None:
        text = self._describe(trainer, pl_module, batch)
        total = trainer.num_training_batches
        bar = ""
        if not math.isinf(total) and total:
            filled = int(20 * batch / total)
            bar = f"[{'=' * filled}{' ' * (20 - filled)}] "
        width = shutil.get_terminal_size().columns
        self.stream.write(f"\r\x1b[2K{(bar + text)[: width - 1]}")
        self.stream.flush()
        self._drawn = True
        standing.stand(self.stream)


def default_progress() -> ProgressBar:
    """A bar where standard output is a terminal, else lines."""
    return TerminalProgress() if sys.stdout.isatty() else LineProgress()


def print_results(found: Sequence[dict[str, float]], kind: str) -> None:
    """A table of what ``validate`` or ``test`` measured, one column per loader."""
    names = list(dict.fromkeys(name for metrics in found for name in metrics))
    if not names:
        return
    width = max(len(kind), *(len(name) for name in names))
    header = [f"loader {index}" for index in range(len(found))] if len(found) > 1 else ["value"]
    lines = [f"{kind:<{width}}  " + "  ".join(f"{title:>12}" for title in header)]
    for name in names:
        cells = (f"{_number(metrics[name]):>12}" if name in metrics else " " * 12 for metrics in found)
        lines.append(f"{name:<{width}}  " + "  ".join(cells))
    print("\n".join(lines))


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
