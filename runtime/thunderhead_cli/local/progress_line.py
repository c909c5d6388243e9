"""The progress line: one that is rewritten on a terminal, one per interval in a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from thunderhead.job.telling import most_telling
from thunderhead_api.messages import MetricValue, StatusReply

_ERASE = "\r\x1b[2K"
_SHOWN_METRICS = 4
_SHOWN_NODES = 4
_WAITS_FOR = {
    "Starting": "loading PyTorch",
    "Building": "importing the code, building module and data",
    "Restoring": "looking for the newest checkpoint and reading it",
    "Stopping": "all ranks commit a checkpoint",
}
_COUNTERS = ("epoch", "step")


def duration(seconds: float) -> str:
    """``75`` → ``1:15``; ``3675`` → ``1:01:15``."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def progress_line(reply: StatusReply, *, nodes: str, elapsed_s: float) -> str:
    """What training looks like in this moment, in one line.

    Args:
        reply: newest status of node 0's agent.
        nodes: ready and wanted pods, as ``2/2``.
        elapsed_s: since the command began.
    """
    parts = [f"[{duration(elapsed_s)}]", f"attempt {reply.attempt}", activity(reply)]
    if reply.first_step is not None or reply.step:  # before, it is not known where the attempt goes on from
        step = f"step {reply.step}" if reply.max_steps is None else f"step {reply.step}/{reply.max_steps}"
        parts += [f"epoch {reply.epoch}", step]
    if reply.percent is not None:
        parts.append(f"{reply.percent} %")
    if reply.step_seconds:
        parts.append(f"{reply.step_seconds * 1000:.3g} ms/step")
    parts += metrics_shown(reply.metrics)
    if reply.checkpoint is not None:
        parts.append(f"checkpoint {reply.checkpoint.step}")
    if reply.skipped_checkpoints is not None and reply.skipped_checkpoints.in_a_row:
        parts.append(f"{reply.skipped_checkpoints.in_a_row} checkpoints skipped")
    return "  ".join([*parts, f"pods {nodes}"])


def activity(reply: StatusReply) -> str:
    """The phase, and before training begins also what it waits for: a minute of it should not look like nothing."""
    phase = reply.phase.lower()
    if reply.missing_nodes:
        nodes = ", ".join(str(node) for node in reply.missing_nodes[:_SHOWN_NODES])
        more = len(reply.missing_nodes) - _SHOWN_NODES
        return f"{phase}: waiting for the pod of node {nodes}" + (f" and {more} more" if more > 0 else "")
    if reply.phase == "Rendezvous":
        return f"{phase}: {reply.ranks_met} of {reply.world_size} ranks have met"
    if reply.phase == "Starting" and reply.ranks:
        return f"{phase}: worker processes begin"
    return f"{phase}: {_WAITS_FOR[reply.phase]}" if reply.phase in _WAITS_FOR else phase


def metrics_shown(metrics: dict[str, MetricValue]) -> list[str]:
    """The few metrics that a person wants most, as ``name=value``."""
    names = most_telling(name for name in metrics if name not in _COUNTERS)
    return [f"{name}={_number(metrics[name])}" for name in names[:_SHOWN_METRICS]]


def _number(value: MetricValue) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


@dataclass(slots=True)
class ProgressLine:
    """Writes the line where it belongs.

    Attributes:
        out: terminal or file.
        is_terminal: rewrite one line instead of adding lines.
        interval_s: seconds between two lines of a log.
        clock: monotonic seconds.
        width: columns of the terminal.
    """

    out: TextIO
    is_terminal: bool
    interval_s: float
    clock: Callable[[], float]
    width: int = 160
    _last_at: float | None = field(default=None, init=False)
    _last_text: str = field(default="", init=False)

    def show(self, text: str) -> None:
        """The newest state; in a log only when the interval has passed and something changed."""
        if self.is_terminal:
            self.out.write(_ERASE + text[: self.width - 1])
            self._last_text = text
            self.out.flush()
            return
        now = self.clock()
        if text != self._last_text and (self._last_at is None or now - self._last_at >= self.interval_s):
            self._last_at, self._last_text = now, text
            self.say(text)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.out.write((_ERASE if self.is_terminal else "") + text + "\n")
        if self.is_terminal and self._last_text:
            self.out.write(self._last_text[: self.width - 1])
        self.out.flush()

    def close(self) -> None:
        """End the line that is being rewritten."""
        if self.is_terminal and self._last_text:
            self.out.write(_ERASE)
            self.out.flush()
            self._last_text = ""
