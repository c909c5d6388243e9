"""How fast an epoch trains."""

from __future__ import annotations


class Pace:
    """Optimizer steps per second of training: of the epoch so far, without the time of its validations.

    The rate is as of the newest step that was seen. Batches that only accumulate gradients, and what follows an
    epoch's last step, leave it as it is.
    """

    def __init__(self) -> None:
        self._began_at = 0.0
        self._began_with = self._seen = 0
        self._paused_at: float | None = None
        self._rate = 0.0

    def begin(self, now: float, steps: int) -> None:
        """An epoch begins at ``now`` seconds after ``steps`` steps; until its first one the last rate holds."""
        self._began_at, self._began_with, self._seen, self._paused_at = now, steps, steps, None

    def pause(self, now: float) -> None:
        """What comes is no training."""
        self._paused_at = now

    def go_on(self, now: float) -> None:
        """Training goes on."""
        if self._paused_at is not None:
            self._began_at += now - self._paused_at
            self._paused_at = None

    def rate(self, now: float, steps: int) -> float:
        """Steps per second, where ``steps`` are done at ``now``; 0 before the first."""
        seconds = now - self._began_at
        if steps > self._seen and seconds > 0:
            self._seen = steps
            self._rate = (steps - self._began_with) / seconds
        return self._rate
