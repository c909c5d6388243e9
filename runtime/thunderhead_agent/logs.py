"""Workers' output into the container's log, line by line, each with its rank. One thread per agent.

A pipe keeps what a dead process wrote, so no line is lost in a crash; the pump reads every pipe to its end before the
agent leaves.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from dataclasses import dataclass, field
from typing import BinaryIO

MAX_LINE_BYTES = 64 * 1024
"""A longer line is passed on in pieces."""


@dataclass(slots=True)
class _Source:
    prefix: bytes
    pending: bytearray = field(default_factory=bytearray)

    def take(self, chunk: bytes) -> bytes:
        """The whole lines that are complete now, prefixed."""
        self.pending += chunk
        cut = self.pending.rfind(b"\n") + 1
        if not cut and len(self.pending) >= MAX_LINE_BYTES:
            return self.rest()
        lines = bytes(self.pending[:cut])
        del self.pending[:cut]
        return b"".join(self.prefix + line for line in lines.splitlines(keepends=True))

    def rest(self) -> bytes:
        """An unfinished last line, ended for it."""
        if not self.pending:
            return b""
        line = self.prefix + bytes(self.pending) + b"\n"
        self.pending.clear()
        return line


class LogPump:
    """Copies from the pipes to one output."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._wake_r, self._wake_w = os.pipe()
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def add(self, fd: int, *, prefix: str) -> None:
        """Copy from ``fd`` (owned by the pump from now on) until its end."""
        os.set_blocking(fd, False)
        self._selector.register(fd, selectors.EVENT_READ, _Source(prefix.encode()))
        os.write(self._wake_w, b"+")

    def say(self, line: str) -> None:
        """Write a line of the agent's own, never into the middle of a rank's.

        What it quotes may come from anywhere: it stays one line, and moves no cursor."""
        shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
        self._emit(shown.encode(errors="backslashreplace") + b"\n")

    def close(self, timeout_s: float) -> None:
        """Copy what is left in the pipes and stop; the end of a pipe that a stray process holds is not waited for."""
        self._closing.set()
        os.write(self._wake_w, b".")
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing.is_set():
            for key, _ in self._selector.select():
                self._copy(key)
        self._drain()

    def _drain(self) -> None:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            ready = [key for key, _ in self._selector.select(timeout=0) if key.data is not None]
            if not ready:
                break
            for key in ready:
                self._copy(key)
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                self._emit(key.data.rest())

    def _copy(self, key: selectors.SelectorKey) -> None:
        try:
            chunk = os.read(key.fd, MAX_LINE_BYTES)
        except BlockingIOError:
            return
        if key.data is None:
            return
        if chunk:
            self._emit(key.data.take(chunk))
            return
        self._emit(key.data.rest())
        self._selector.unregister(key.fd)
        os.close(key.fd)

    def _emit(self, data: bytes) -> None:
        if not data:
            return
        with self._lock:
            try:
                self._output.write(data)
                self._output.flush()
            except OSError:
                # Nobody reads our output any more. Keep emptying the pipes, or every worker blocks on its next print.
                return
