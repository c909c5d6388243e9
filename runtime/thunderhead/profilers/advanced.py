"""Python's own profiler, per action."""

from __future__ import annotations

import cProfile
import io
import marshal
import os
import pstats

from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.schemes import place_of
from thunderhead.profilers.profiler import Profiler


class AdvancedProfiler(Profiler):
    """Measures which functions each action calls, and how long they take; it slows Python down a lot.

    An action within an action is measured for itself, not as part of the outer one.

    Args:
        dirpath: directory or URL for the report; the log directory of the run by default.
        filename: name of the report, without ``.txt``; None: it is printed.
        line_count_restriction: rows per action: a number, or a share from 0.0 to 1.0.
        dump_stats: whether a ``.prof`` file per action, for ``pstats`` and its viewers, is written as well.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        line_count_restriction: float = 1.0,
        dump_stats: bool = False,
    ) -> None:
        super().__init__(dirpath=dirpath, filename=filename)
        self.line_count_restriction = line_count_restriction
        self.dump_stats = dump_stats
        self.profiled_actions: dict[str, cProfile.Profile] = {}
        self._running: list[str] = []

    def start(self, action_name: str) -> None:
        """An action begins; the one around it waits, since Python has one profiler at a time."""
        if self._running:
            self.profiled_actions[self._running[-1]].disable()
        self._running.append(action_name)
        self.profiled_actions.setdefault(action_name, cProfile.Profile()).enable()

    def stop(self, action_name: str) -> None:
        """It has ended.

        Raises:
            ValueError: it has not begun.
        """
        if action_name not in self._running:
            raise ValueError(f"profiler: action {action_name!r} is stopped, but was not started")
        self.profiled_actions[self._running[-1]].disable()
        self._running.remove(action_name)
        if self._running:
            self.profiled_actions[self._running[-1]].enable()

    def summary(self) -> str:
        """A table per action; the ``.prof`` files are written here."""
        if self._running:
            self.profiled_actions[self._running[-1]].disable()
        found = {}
        for action, profile in self.profiled_actions.items():
            text = io.StringIO()
            stats = pstats.Stats(profile, stream=text)
            if self.dump_stats:
                self._dump(action, stats)
            stats.strip_dirs().sort_stats("cumulative").print_stats(self.line_count_restriction)
            found[action] = text.getvalue()
        return self._stats_to_str(found)

    def teardown(self, stage: str | None) -> None:
        """The run has ended, and was reported."""
        super().teardown(stage)
        self.profiled_actions.clear()
        self._running.clear()

    def _dump(self, action: str, stats: pstats.Stats) -> None:
        if not self.dirpath:
            raise MisconfigurationException("AdvancedProfiler(dump_stats=True) has no directory; pass dirpath")
        path = os.path.join(self.dirpath, self._prepare_filename(action_name=action, extension=".prof"))
        content = marshal.dumps(stats.stats)  # type: ignore[attr-defined]  # what pstats itself writes and reads
        place_of(path).write(path, lambda stream: stream.write(content))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        # What was measured stays here: Python's profiler cannot be copied.
        return type(self), (self.dirpath, self.filename, self.line_count_restriction, self.dump_stats)
