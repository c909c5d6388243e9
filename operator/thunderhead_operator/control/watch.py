"""Hearing of every change of one kind: a list, then a watch from its version on, for ever, whatever the server does.

What is heard only wakes passes, so of most objects the metadata are asked for. (Of a pod all that a verdict reads: its
deletion is the last that is seen of it.)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from thunderhead_operator.cluster.errors import ApiError, Unavailable
from thunderhead_operator.plan.objects import Obj

_log = logging.getLogger(__name__)
WAIT_FIRST_S: Final = 0.1
WAIT_LAST_S: Final = 5.0
_TRIES: Final = 3
Tell = Callable[[str | None, str, Obj], None]
"""Told of each object: the event (``ADDED``, ``MODIFIED``, ``DELETED``; None: listed), its kind, and what is known."""


class Source(Protocol):
    """Where changes are heard; :class:`~thunderhead_operator.cluster.client.KubernetesCluster`."""

    async def list_metadata(self, kind: str, namespace: str | None) -> tuple[Sequence[Obj], str]:
        """Metadata of all objects, and the version to watch from."""

    def watch(self, kind: str, namespace: str | None, version: str) -> AsyncGenerator[tuple[str, Obj, str]]:
        """Event, object and version of every change since ``version``."""


class Watcher:
    """One kind in one namespace, or in all."""

    def __init__(
        self, source: Source, *, kind: str, namespace: str | None, tell: Tell, jitter: Callable[[], float]
    ) -> None:
        """``tell`` must neither raise nor wait; ``jitter``: uniform in [0, 1)."""
        self._source = source
        self._kind = kind
        self._namespace = namespace
        self._tell = tell
        self._jitter = jitter
        self._version: str | None = None
        self._failures = 0

    async def run(self) -> None:
        """For ever. A connection that broke is taken up where it broke, so that no deletion is missed; what the server
        refuses, or what fails again and again, begins with a list."""
        while True:
            try:
                await self._follow()
            except ApiError as error:
                self._failures += 1
                if not isinstance(error, Unavailable) or self._failures % _TRIES == 0:
                    self._version = None
                level = logging.DEBUG if self._failures < _TRIES else logging.WARNING
                _log.log(level, "watch of %s: %s: %s", self._kind, type(error).__name__, error)
            wait = min(WAIT_FIRST_S * 2.0 ** min(self._failures, 16), WAIT_LAST_S)
            await asyncio.sleep(wait * (0.5 + self._jitter() / 2))

    async def _follow(self) -> None:
        if self._version is None:
            listed, self._version = await self._source.list_metadata(self._kind, self._namespace)
            for obj in listed:
                self._tell(None, self._kind, obj)
        async with aclosing(self._source.watch(self._kind, self._namespace, self._version)) as changes:
            async for event, obj, version in changes:
                self._failures = 0
                self._version = version or self._version
                if event != "BOOKMARK":
                    self._tell(event, self._kind, obj)
        self._failures = 0
