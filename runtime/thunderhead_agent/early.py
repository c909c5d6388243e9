"""Signals that come before anybody can act on them.

Pid 1 of a container has no default action: a SIGTERM without a handler is dropped by the kernel. So this is what the
agent does first, before the imports that take most of its first second; it needs the standard library alone. A handler,
unlike a blocked signal, is not inherited by the programs that are started meanwhile.
"""

from __future__ import annotations

import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class EarlySignals:
    """Notes requests to stop from its making on, until other handlers take their place."""

    def __init__(self) -> None:
        self.caught: list[int] = []
        for number in STOP_SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.caught.append(number)
