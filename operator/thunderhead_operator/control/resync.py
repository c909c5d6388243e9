"""The safety net below the watches: once a minute everything is listed, and what changed unnoticed gets a pass.

It also tells a deaf watch: an object that changed before one listing, and of which the watch still says nothing by the
next, will not be heard of any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from thunderhead_api.treaty import KIND
from thunderhead_operator.cluster.api import ClusterApi
from thunderhead_operator.cluster.errors import ApiError
from thunderhead_operator.cluster.gather import gather
from thunderhead_operator.control.keys import job_key
from thunderhead_operator.control.queue import Key
from thunderhead_operator.plan.kinds import heard
from thunderhead_operator.plan.objects import Obj, section, uid_of

_log = logging.getLogger(__name__)
PERIOD_S: Final = 60.0


def watched() -> tuple[str, ...]:
    """Every kind of which a change wakes a pass, the jobs' own first."""
    return KIND, *(kind.value for kind in heard())


class Resync:
    """Lists jobs and children, metadata only."""

    def __init__(
        self,
        api: ClusterApi,
        *,
        namespaces: Sequence[str | None],
        wake: Callable[[Key], None],
        monotonic: Callable[[], float],
    ) -> None:
        """``namespaces``: those of the operator, or (None,) for all."""
        self._api = api
        self._namespaces = namespaces
        self._wake = wake
        self._monotonic = monotonic
        self._versions: dict[Key, frozenset[str]] = {}
        self._heard: dict[str, str] = {}  # uid → resourceVersion, by the watch
        self._suspects: dict[str, tuple[str, str | None]] = {}  # uid → kind, what was heard at the last listing
        self._absent: set[str] = set()
        self.done_at = monotonic()
        self.deaf: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Judge from now on: what was not heard while nobody listened makes no watch deaf."""
        self.done_at = self._monotonic()
        self.deaf = frozenset()
        self._suspects = {}

    def heard(self, event: str | None, obj: Obj) -> None:
        """The watch told of an object."""
        if event == "DELETED":
            self._heard.pop(uid_of(obj), None)
        else:
            self._heard[uid_of(obj)] = str(section(obj, "metadata").get("resourceVersion"))

    async def run(self) -> None:
        """For ever: list, wait."""
        while True:
            try:
                await self.once()
            except ApiError as error:
                _log.warning("resync failed: %s", error)
            except Exception:  # noqa: BLE001 - one listing, whatever is in it, must not end the watches beside it
                _log.exception("resync failed")
            await asyncio.sleep(PERIOD_S)

    async def once(self) -> None:
        """One listing of everything; a pass for every key that has changed since the one before.

        Raises:
            ApiError: a listing failed; nothing is concluded from the others.
        """
        found: dict[Key, set[str]] = {}
        listed: dict[str, tuple[str, str]] = {}
        for kind, obj in await self._list():
            key, version = job_key(kind, obj), str(section(obj, "metadata").get("resourceVersion"))
            if key is not None:
                found.setdefault(key, set()).add(f"{uid_of(obj)}/{version}")
                listed[uid_of(obj)] = kind, version
        versions = {key: frozenset(seen) for key, seen in found.items()}
        for key in sorted(versions.keys() | self._versions.keys()):
            if versions.get(key) != self._versions.get(key):
                self._wake(key)
        self._versions = versions
        self._judge(listed)
        self.done_at = self._monotonic()

    async def _list(self) -> list[tuple[str, Obj]]:
        pairs: list[tuple[str, Obj]] = []
        kinds = heard()
        for namespace in self._namespaces:
            jobs = self._api.list_jobs(namespace)
            children = [self._api.list_labelled(kind, namespace) for kind in kinds]
            lists = await gather([jobs, *children])
            for kind, objects in zip((KIND, *(k.value for k in kinds)), lists, strict=True):
                pairs += [(kind, obj) for obj in objects]
        return pairs

    def _judge(self, listed: dict[str, tuple[str, str]]) -> None:
        """Suspects of the last listing that still exist and of which nothing was heard since make their watch deaf."""
        self.deaf = frozenset(
            kind for uid, (kind, then) in self._suspects.items() if uid in listed and self._heard.get(uid) == then
        )
        if self.deaf:
            _log.error("no watch events for changed objects of %s", ", ".join(sorted(self.deaf)))
        self._suspects = {
            uid: (kind, self._heard.get(uid))
            for uid, (kind, version) in listed.items()
            if self._heard.get(uid) != version
        }
        # The watch may be ahead of the listing; what two listings do not hold is gone, and its deletion was missed.
        absent = self._heard.keys() - listed.keys()
        for uid in absent & self._absent:
            del self._heard[uid]
        self._absent = absent
