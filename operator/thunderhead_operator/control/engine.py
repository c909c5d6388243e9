"""The operator without a shell: queue, passes and pulls. A shell (kopf, or the memory cluster's watch) tells it what it
sees; nothing it is told is believed, it only wakes a pass that reads for itself."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from thunderhead_operator.cluster.api import ClusterApi
from thunderhead_operator.control.keys import job_key
from thunderhead_operator.control.pulling import Address, Fetch, ProgressPuller, fetch_status, pod_address
from thunderhead_operator.control.queue import Handler, Key, WorkQueue
from thunderhead_operator.control.reconcile import Memory, Reconciler
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Obj


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Operator:
    """Call :meth:`start`, feed it with :meth:`saw`, :meth:`stop` it."""

    def __init__(
        self,
        api: ClusterApi,
        config: Config,
        *,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        fetch: Fetch = fetch_status,
        address_of: Callable[[Obj], Address | None] = pod_address,
        workers: int = 8,
        on_pass: Callable[[Key, Memory], None] = lambda key, memory: None,
        wrap: Callable[[Handler], Handler] = lambda handler: handler,
    ) -> None:
        """``fetch`` and ``address_of``: how agents are asked, and where (locally each pod has its own port);
        ``on_pass`` and ``wrap``: for metrics."""
        self._told = on_pass
        self.reconciler = Reconciler(api, config=config, now=now, monotonic=monotonic, on_pass=self._after_pass)
        self.queue = WorkQueue(wrap(self.reconciler), jitter=jitter, workers=workers)
        self.puller = ProgressPuller(
            wake=self.queue.add,
            now=now,
            monotonic=monotonic,
            write_period_s=config.write_period_s,
            fetch=fetch,
            address_of=address_of,
        )

    def start(self) -> None:
        """Start the workers; needs a running event loop."""
        self.queue.start()

    async def stop(self) -> None:
        """Stop between two passes if they are quick, in the middle of one if not: both are safe."""
        await self.puller.stop()
        await self.queue.stop()

    def saw(self, event: str | None, kind: str, obj: Obj) -> None:
        """A watch event (``ADDED``, ``MODIFIED``, ``DELETED``, None: listed) of a job or of anything with its label."""
        key = job_key(kind, obj)
        if key is None:
            return
        if event == "DELETED" and kind == Kind.POD:
            self.reconciler.remember_ghost(key, obj)
        elif kind == Kind.POD:
            self.reconciler.remember_silence(key, obj)
        self.queue.add(key)

    def _after_pass(self, key: Key, memory: Memory) -> None:
        self.puller.follow(key, memory)
        self._told(key, memory)
