"""Progress bars drawn by the package ``rich``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from thunderhead.callbacks.stage_bars import MIN_SECONDS, Bar, StageBars
from thunderhead.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.style import Style

    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


@dataclass(frozen=True, slots=True)
class RichProgressBarTheme:
    """Styles of the parts of a bar, in rich's words.

    Attributes:
        description: style of the title.
        progress_bar: style of a running bar.
        progress_bar_finished: style of a finished bar.
        progress_bar_pulse: style of a bar without a known end.
        batch_progress: style of the number of batches.
        time: style of elapsed and remaining time.
        processing_speed: style of batches per second.
        metrics: style of the values beside the bar.
        metrics_text_delimiter: text between two values.
        metrics_format: format of a value that is a float.
    """

    description: str | Style = ""
    progress_bar: str | Style = "#6206E0"
    progress_bar_finished: str | Style = "#6206E0"
    progress_bar_pulse: str | Style = "#6206E0"
    batch_progress: str | Style = ""
    time: str | Style = "dim"
    processing_speed: str | Style = "dim underline"
    metrics: str | Style = "italic"
    metrics_text_delimiter: str = " "
    metrics_format: str = ".3f"


class RichProgressBar(StageBars):
    """Coloured bars, one below the other; lines where there is no terminal. No thread draws: only the loop does.

    Args:
        refresh_rate: drawings per second, of which there are never more than ten; 0 shows nothing.
        leave: keep the bar of each epoch on the screen.
        theme: styles.
        console_kwargs: passed to ``rich.console.Console``.
        interval_s: seconds between lines where there is no terminal.
        stream: where to write; standard output by default.
        clock: seconds, ever increasing.

    Raises:
        MisconfigurationException: an argument is not what it is said to be.
        ModuleNotFoundError: ``rich`` is not installed.
    """

    def __init__(
        self,
        refresh_rate: int = 100,
        leave: bool = False,
        theme: RichProgressBarTheme | None = None,
        console_kwargs: dict[str, Any] | None = None,
        *,
        interval_s: float = 10.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import rich.progress  # noqa: F401 - missing here is better than missing when training starts

        super().__init__(refresh_rate, leave, interval_s=interval_s, stream=stream, clock=clock)
        self._batches, self._seconds = 1, max(MIN_SECONDS, 1 / (refresh_rate or 1))
        if not isinstance(theme, RichProgressBarTheme | None):
            raise MisconfigurationException(
                f"RichProgressBar: theme={theme!r} must be a RichProgressBarTheme: RichProgressBarTheme(time='dim')"
            )
        if not isinstance(console_kwargs, Mapping | None):
            raise MisconfigurationException(
                f"RichProgressBar: console_kwargs={console_kwargs!r} must be a dict of rich.console.Console's arguments"
            )
        self.theme = theme or RichProgressBarTheme()
        self._console_options = console_kwargs or {}
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What is drawn now stays here."""
        return {**super().__getstate__(), "_progress": None, "_tasks": {}}

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """The columns of a bar; override to show others."""
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        theme = self.theme
        bar = BarColumn(
            complete_style=theme.progress_bar,
            finished_style=theme.progress_bar_finished,
            pulse_style=theme.progress_bar_pulse,
        )
        return [
            TextColumn("{task.description}", style=theme.description),
            bar,
            TextColumn("{task.fields[batches]}", style=theme.batch_progress),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}", style=theme.processing_speed),
            TextColumn("{task.fields[metrics]}", style=theme.metrics),
        ]

    def draw(self, bar: Bar) -> None:
        """Update the bar's line, adding it when it is new."""
        progress = self._started()
        if bar.title not in self._tasks:
            self._drop_finished(bar.title)
            total = None if math.isinf(bar.total) else bar.total
            self._tasks[bar.title] = progress.add_task(bar.title, total=total, batches="", rate="", metrics="")
        progress.update(
            self._tasks[bar.title],
            completed=bar.done,
            batches=bar.of,
            rate=f"{bar.rate:.2f}it/s",
            metrics=self.theme.metrics_text_delimiter.join(self._metric(*item) for item in bar.metrics.items()),
        )
        progress.refresh()

    def close(self, bar: Bar, *, leave: bool) -> None:
        """Take the bar away, or print it for good and stop drawing."""
        if self._progress is None:
            return
        task = self._tasks.pop(bar.title, None)
        if not leave:
            if task is not None:
                self._progress.remove_task(task)
            self._progress.refresh()
            return
        self._stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the terminal back."""
        super().teardown(trainer, pl_module, stage)
        self._stop()

    def print(self, *values: object, **options: Any) -> None:
        """Print above the bars."""
        if self._progress is not None:
            self._progress.console.print(*values, **options)
        else:
            print(*values, **options)

    def _started(self) -> Progress:
        if self._progress is None:
            from rich.progress import Progress

            self._progress = Progress(
                *self.configure_columns(self.trainer), console=self._console(), auto_refresh=False
            )
            self._progress.start()
        return self._progress

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.refresh()
            self._progress.stop()
        self._progress, self._tasks = None, {}

    def _console(self) -> Console:
        from rich.console import Console
        from rich.theme import Theme

        times = Theme({"progress.elapsed": self.theme.time, "progress.remaining": self.theme.time})
        return Console(**{"file": self.stream, "theme": times, **self._console_options})

    def _drop_finished(self, title: str) -> None:
        """A new epoch's bar takes the place of the last one's."""
        assert self._progress is not None
        beginning = f"{self.train_description} "
        if title.startswith(beginning):
            for old in [name for name in self._tasks if name.startswith(beginning)]:
                self._progress.remove_task(self._tasks.pop(old))

    def _metric(self, name: str, value: object) -> str:
        return f"{name}: {format(value, self.theme.metrics_format) if isinstance(value, float) else value}"
