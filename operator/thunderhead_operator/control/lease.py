"""One operator works at a time: a Lease of ``coordination.k8s.io``. For economy only; two at once are slow, not wrong.

Expiry is judged by our own monotonic clock since the record was last seen to change, so clocks need not agree; only a
record that is older than any two clocks differ is taken at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from thunderhead_operator.cluster.api import ClusterApi
from thunderhead_operator.cluster.errors import AlreadyExists, ApiError, Conflict, NotFound
from thunderhead_operator.plan.clock import parse_untrusted
from thunderhead_operator.plan.objects import Manifest, Obj, section

_log = logging.getLogger(__name__)
DURATION_S: Final = 15.0
RENEW_S: Final = 4.0
CLOCK_SKEW_S: Final = 20.0
"""By how much the clocks of two operators may differ at most."""


class Lease:
    """Call :meth:`acquire`, then run :meth:`hold` beside the work; it returns when the lease is lost."""

    def __init__(
        self,
        api: ClusterApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        """``identity``: who we are; the same again after a restart takes the lease back at once."""
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._now = now
        self._monotonic = monotonic
        self._seen_version = ""
        self._seen_at = 0.0
        self._record: Obj = {}
        self.is_held = False

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        while True:
            if await self._try():
                break
            await asyncio.sleep(RENEW_S / 2)
        self.is_held = True
        _log.info("lease %s/%s is held by %s", self._namespace, self._name, self._identity)

    async def hold(self) -> None:
        """Renew until that fails for so long that another may have taken it."""
        renewed = self._monotonic()
        try:
            while self._monotonic() - renewed < DURATION_S - RENEW_S:
                await asyncio.sleep(RENEW_S)
                if await self._try():
                    renewed = self._monotonic()
                elif section(self._record, "spec").get("holderIdentity") not in (self._identity, None, ""):
                    break
        finally:
            self.is_held = False
        _log.error("lease %s/%s is lost", self._namespace, self._name)

    async def release(self) -> None:
        """Let the next one begin at once."""
        try:
            record = await self._api.get_lease(self._namespace, self._name)
            if section(record, "spec").get("holderIdentity") == self._identity:
                await self._api.replace_lease(self._namespace, self._name, self._claim(record, holder=""))
        except ApiError as error:
            _log.warning("lease %s/%s was not released: %s", self._namespace, self._name, error)

    async def _try(self) -> bool:
        """One attempt to take or renew."""
        try:
            record = await self._api.get_lease(self._namespace, self._name)
            if not self._may_take(record):
                return False
            self._record = await self._api.replace_lease(self._namespace, self._name, self._claim(record))
        except NotFound:
            return await self._create()
        except Conflict:
            return False
        except ApiError as error:
            _log.warning("lease %s/%s: %s", self._namespace, self._name, error)
            return False
        return True

    async def _create(self) -> bool:
        """For an operator started by hand: the chart brings the Lease along and grants no right to create one."""
        empty: Manifest = {"metadata": {"name": self._name, "namespace": self._namespace}}
        try:
            self._record = await self._api.create_lease(self._namespace, self._claim(empty))
        except (AlreadyExists, ApiError) as error:
            _log.warning("lease %s/%s was not created: %s", self._namespace, self._name, error)
            return False
        return True

    def _may_take(self, record: Obj) -> bool:
        spec, version = section(record, "spec"), str(section(record, "metadata").get("resourceVersion"))
        self._record = record
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, self._monotonic()
        if spec.get("holderIdentity") in (self._identity, None, ""):
            return True
        lasts = float(spec.get("leaseDurationSeconds") or DURATION_S)
        return self._monotonic() - self._seen_at > lasts or self._is_ancient(spec, lasts)

    def _is_ancient(self, spec: Obj, lasts: float) -> bool:
        """Expired by the wall clock beyond any difference that clocks may have: the holder died with its node a while
        ago, and to watch its record for another term would only delay the recovery of the jobs that died with it."""
        renewed = parse_untrusted(spec.get("renewTime"))
        return renewed is not None and (self._now() - renewed).total_seconds() > lasts + CLOCK_SKEW_S

    def _claim(self, record: Obj, holder: str | None = None) -> Manifest:
        spec, meta = section(record, "spec"), section(record, "metadata")
        holder = self._identity if holder is None else holder
        moment = self._now().isoformat(timespec="microseconds").replace("+00:00", "Z")
        changes = spec.get("holderIdentity") != holder
        known = ("name", "namespace", "resourceVersion", "labels", "annotations")  # the last two are the chart's
        kept = {key: meta[key] for key in known if key in meta}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": kept,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": int(DURATION_S),
                "acquireTime": moment if changes else spec.get("acquireTime", moment),
                "renewTime": moment,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + changes,
            },
        }
