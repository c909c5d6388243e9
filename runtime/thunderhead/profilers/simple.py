"""Wall time per action."""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from thunderhead.profilers.profiler import Profiler

_TOTAL: Final = "Total"


class SimpleProfiler(Profiler):
    """Measures how long each action takes, and shows mean and sum.

    Args:
        dirpath: directory or URL for the report; the log directory of the run by default.
        filename: name of the report, without ``.txt``; None: it is printed.
        extended: whether there are columns for the number of calls and the share of the whole time.
        clock: seconds from some moment on.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        extended: bool = True,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(dirpath=dirpath, filename=filename)
        self.extended = extended
        self.current_actions: dict[str, float] = {}
        self.recorded_durations: defaultdict[str, list[float]] = defaultdict(list)
        self._clock = clock
        self.start_time = clock()

    def start(self, action_name: str) -> None:
        """An action begins.

        Raises:
            ValueError: it has begun already.
        """
        if action_name in self.current_actions:
            raise ValueError(f"profiler: action {action_name!r} is started twice; stop it first")
        self.current_actions[action_name] = self._clock()

    def stop(self, action_name: str) -> None:
        """It has ended.

        Raises:
            ValueError: it has not begun.
        """
        now = self._clock()
        if action_name not in self.current_actions:
            raise ValueError(f"profiler: action {action_name!r} is stopped, but was not started")
        self.recorded_durations[action_name].append(now - self.current_actions.pop(action_name))

    def summary(self) -> str:
        """A table of all actions, those that took longest first."""
        whole = self._clock() - self.start_time
        rows = self._extended_rows(whole) if self.extended else self._rows()
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        line = "-" * (sum(widths) + 3 * len(widths) + 1)
        shown = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
        ]
        return "\n".join([self._title(), "", line, shown[0], line, *shown[1:], line])

    def _extended_rows(self, whole: float) -> list[tuple[str, ...]]:
        found = sorted(self.recorded_durations.items(), key=lambda item: math.fsum(item[1]), reverse=True)
        calls = sum(len(durations) for _, durations in found)
        rows: list[tuple[str, ...]] = [("Action", "Mean duration (s)", "Num calls", "Total time (s)", "Percentage %")]
        rows.append((_TOTAL, "-", str(calls), f"{whole:.5}", "100 %"))
        for action, durations in found:
            took = math.fsum(durations)
            share = f"{100 * took / whole:.5}" if whole else "-"
            rows.append((action, f"{took / len(durations):.5}", str(len(durations)), f"{took:.5}", share))
        return rows

    def _rows(self) -> list[tuple[str, ...]]:
        found = [(action, math.fsum(taken), len(taken)) for action, taken in self.recorded_durations.items()]
        found.sort(key=lambda item: item[1] / item[2], reverse=True)
        header = ("Action", "Mean duration (s)", "Total time (s)")
        return [header, *((action, f"{took / calls:.5}", f"{took:.5}") for action, took, calls in found)]
