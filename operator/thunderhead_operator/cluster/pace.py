"""How many calls the API server gets: a token bucket, as client-go's ``flowcontrol`` has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class Pace:
    """Lets ``qps`` calls a second through on average and ``burst`` of them at once; the others wait in their order."""

    def __init__(
        self,
        qps: float,
        burst: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``qps`` 0 is no limit."""
        self._qps, self._burst = qps, burst
        self._monotonic, self._sleep = monotonic, sleep
        self._tokens = float(burst)
        self._filled_at = monotonic()

    async def turn(self) -> None:
        """Return when the next call may be made. Who is cancelled meanwhile has had his turn."""
        if self._qps <= 0:
            return
        now = self._monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._qps)
        self._filled_at = now
        self._tokens -= 1.0  # below zero: so many wait before the next, each for its own token
        if self._tokens < 0:
            await self._sleep(-self._tokens / self._qps)
