"""Keys of jobs that want a pass: each at most once in the queue, never two passes of one key at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from thunderhead_operator.cluster.errors import ApiError, Conflict

Key = tuple[str, str]
"""Namespace and name of a job."""
Handler = Callable[[Key], Awaitable[float | None]]
"""Runs one pass; answers in how many seconds the next is due (None: when something happens)."""

_log = logging.getLogger(__name__)
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_LAST_S: Final = 60.0


class WorkQueue:
    """Dirty keys, busy keys, and one timer per key.

    A key added while it is busy runs again afterwards: what changed meanwhile may have been missed. A pass that raises
    is tried again after a growing, jittered wait.
    """

    def __init__(self, handle: Handler, *, jitter: Callable[[], float], workers: int = 8) -> None:
        """``jitter``: uniform in [0, 1), so that many failed keys do not come back together."""
        self._handle = handle
        self._jitter = jitter
        self._num_workers = workers
        self._dirty: dict[Key, None] = {}  # in order of arrival
        self._busy: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._stopping = False

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._dirty)

    @property
    def idle(self) -> bool:
        """No key is waiting or being worked on; timers may run."""
        return not self._dirty and not self._busy

    @property
    def next_timer(self) -> float | None:
        """When the earliest timer goes off, in the event loop's time."""
        return min((timer.when() for timer in self._timers.values()), default=None)

    def is_alive(self) -> bool:
        """Whether every worker still works."""
        return bool(self._workers) and not any(worker.done() for worker in self._workers)

    def add(self, key: Key) -> None:
        """Want a pass for ``key`` as soon as possible."""
        if self._stopping:
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._dirty[key] = None
        self._wake.set()

    def later(self, key: Key, seconds: float) -> None:
        """Want a pass for ``key`` in ``seconds``, unless one comes sooner."""
        if self._stopping or key in self._dirty:
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def start(self) -> None:
        """Start the workers, also again after :meth:`stop`."""
        self._stopping = False
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._num_workers)]

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Take no more keys, give running passes a little time, then cancel them: a pass may end anywhere anyhow."""
        self._stopping = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._dirty.clear()
        self._wake.set()
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=timeout_s)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def _work(self) -> None:
        while True:
            key = next((key for key in self._dirty if key not in self._busy), None)
            if key is None:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            del self._dirty[key]
            self._busy.add(key)
            try:
                await self._pass(key)
            finally:
                self._busy.discard(key)
                if key in self._dirty:
                    self._wake.set()

    async def _pass(self, key: Key) -> None:
        try:
            again = await self._handle(key)
        except ApiError as error:
            self._retry(key, error)
        except Exception as error:  # noqa: BLE001 - one job's trouble, whatever it is, must not stop the others
            _log.exception("pass of %s/%s failed", *key)
            self._retry(key, error)
        else:
            self._failures.pop(key, None)
            if again is not None:
                self.later(key, again) if again > 0 else self.add(key)

    def _retry(self, key: Key, error: Exception) -> None:
        count = self._failures.get(key, 0) + 1
        self._failures[key] = count
        wait = min(BACKOFF_FIRST_S * 2.0 ** min(count - 1, 16), BACKOFF_LAST_S) * (0.5 + self._jitter() / 2)
        asked = error.retry_after_s if isinstance(error, ApiError) else None
        wait = max(wait, asked or 0.0)
        level = logging.DEBUG if isinstance(error, Conflict) else logging.WARNING
        _log.log(level, "pass of %s/%s again in %.1f s: %s: %s", *key, wait, type(error).__name__, error)
        self.later(key, wait)
