"""Progress bars under the name that Lightning's users know: plain characters, or tqdm's where a subclass makes them."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from typing import Any, TextIO

from thunderhead import standing
from thunderhead.callbacks.stage_bars import Bar, as_text
from thunderhead.callbacks.tqdm_bars import TqdmBars
from thunderhead.warning import warn


class TQDMProgressBar(TqdmBars):
    """Bars of plain characters on one line, as tqdm draws them (which need not be installed).

    A subclass that makes bars itself, by ``init_train_tqdm`` and its kin, draws with tqdm.

    Args:
        refresh_rate: batches between looks at the clock; 0 shows nothing.
        process_position: lines above the bars, where they are tqdm's.
        leave: keep the bar of each epoch on the screen.
        interval_s: seconds between lines where there is no terminal.
        stream: where to write; standard output by default.
        clock: seconds, ever increasing.
    """

    def __init__(
        self,
        refresh_rate: int = 1,
        process_position: int = 0,
        leave: bool = False,
        *,
        interval_s: float = 10.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(refresh_rate, leave, interval_s=interval_s, stream=stream, clock=clock)
        self.process_position = process_position
        if process_position and not self._by_tqdm:
            warn(f"process_position={process_position} does nothing: bars are drawn on the line of the cursor")

    def draw(self, bar: Bar) -> None:
        """Overwrite the line."""
        if self._by_tqdm:
            self._draw_by_tqdm(bar)
            return
        metrics = "".join(f", {name}={as_text(value)}" for name, value in bar.metrics.items())
        text = f"{bar.of} [{bar.rate:.2f}it/s{metrics}]"
        if math.isinf(bar.total) or not bar.total:
            line = f"{bar.title}: {text}"
        else:
            share = bar.done / bar.total
            line = f"{bar.title}: {share:4.0%}|{'█' * int(10 * share):<10}| {text}"
        self.stream.write(f"\r\x1b[2K{line[: shutil.get_terminal_size().columns - 1]}")
        self.stream.flush()
        standing.stand(self.stream)

    def close(self, bar: Bar, *, leave: bool) -> None:
        """Begin a new line unless a message has done so, or empty this one."""
        if self._by_tqdm:
            self._close_running()
            return
        if leave:
            standing.step_off()
            return
        self.stream.write("\r\x1b[2K")
        self.stream.flush()
        standing.forget()

    def print(self, *values: object, **options: Any) -> None:
        """Print on a line of its own; the bar is drawn again below it."""
        if self._bar.title:
            self.stream.write("\r\x1b[2K")
            standing.forget()
        print(*values, **options)
