"""Everything put together for a real cluster: lease, watches, loop, resync, pulls and metrics, between kopf's start and
stop."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import kopf
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server

from thunderhead_operator.cluster.client import KubernetesCluster, load_client
from thunderhead_operator.cluster.pace import Pace
from thunderhead_operator.control.engine import Operator, utc_now
from thunderhead_operator.control.lease import Lease
from thunderhead_operator.control.metrics import Gauges, Metrics
from thunderhead_operator.control.resync import PERIOD_S, Resync, watched
from thunderhead_operator.control.watch import Watcher
from thunderhead_operator.kopfio.registry import shell_registry
from thunderhead_operator.kopfio.settings import shell_settings
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.objects import Obj

_log = logging.getLogger(__name__)
_LAG_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says."""

    config: Config
    namespaces: Sequence[str] = ()
    """Namespaces to work in; none: all of the cluster."""
    lease_namespace: str = "default"
    lease_name: str = "thunderhead-operator"
    identity: str = "operator"
    metrics_port: int = 9090
    health_port: int = 8080
    workers: int = 8
    api_qps: float = 0.0
    """Calls a second to the API server; 0: no limit."""
    api_burst: int = 100


class Shell:
    """One operator process. Implements :class:`~thunderhead_operator.kopfio.registry.Probed`."""

    def __init__(self, options: Options) -> None:
        """Nothing is started or connected yet."""
        self._options = options
        self._registry = CollectorRegistry()
        self._metrics = Metrics(self._registry)
        self._heard_at: dict[str, float] = {}
        self._lag_s = 0.0
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Until a signal or an error of its own ends it: an API server that is away only makes it wait."""
        pace = Pace(self._options.api_qps, self._options.api_burst)
        self._cluster = KubernetesCluster(await load_client(), self._metrics.on_call, pace)
        try:
            self._assemble()
            registry = shell_registry(self, on_start=self._start, on_stop=self._end)
            await kopf.operator(
                registry=registry,
                settings=shell_settings(),
                standalone=True,
                clusterwide=not self._options.namespaces,
                namespaces=self._options.namespaces,
                liveness_endpoint=f"http://0.0.0.0:{self._options.health_port}/healthz",
                stop_flag=self._stop,
            )
        finally:
            await self._cluster.close()

    def stop(self) -> None:
        """End as on a signal."""
        self._stop.set()

    def saw(self, event: str | None, kind: str, obj: Obj) -> None:
        """A watch tells of an object."""
        self._heard_at[kind] = time.monotonic()
        self._resync.heard(event, obj)
        self._operator.saw(event, kind, obj)

    def check(self) -> None:
        """See the protocol. Who only waits for the lease is well."""
        if not self._lease.is_held:
            return
        if not self._operator.queue.is_alive():
            raise RuntimeError("a worker has ended")
        if time.monotonic() - self._resync.done_at > 5 * PERIOD_S:
            raise RuntimeError(f"no listing succeeded for {5 * PERIOD_S:.0f} s")
        if self._resync.deaf:
            raise RuntimeError(f"the watch of {', '.join(sorted(self._resync.deaf))} is deaf")

    def _assemble(self) -> None:
        options = self._options
        self._operator = Operator(
            self._cluster,
            options.config,
            workers=options.workers,
            on_pass=self._metrics.on_pass,
            wrap=self._metrics.timed,
        )
        self._resync = Resync(
            self._cluster,
            namespaces=tuple(options.namespaces) or (None,),
            wake=self._operator.queue.add,
            monotonic=time.monotonic,
        )
        self._lease = Lease(
            self._cluster,
            namespace=options.lease_namespace,
            name=options.lease_name,
            identity=options.identity,
            now=utc_now,
            monotonic=time.monotonic,
        )
        values = {
            "queue_depth": ("Jobs that wait for a pass.", lambda: float(len(self._operator.queue))),
            "lease_held": ("1 while this process works.", lambda: float(self._lease.is_held)),
            "event_loop_lag_seconds": ("How late the event loop was last.", lambda: self._lag_s),
            "resync_age_seconds": ("Since the last listing.", lambda: time.monotonic() - self._resync.done_at),
        }
        gauges = Gauges(self._operator.reconciler.memories, values, self._ages)
        self._registry.register(gauges)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def _ages(self) -> dict[str, float]:
        now = time.monotonic()
        return {kind: now - self._heard_at[kind] for kind in sorted(watched()) if kind in self._heard_at}

    async def _start(self) -> None:
        self._exporter = start_http_server(self._options.metrics_port, registry=self._registry)
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._measure_lag())]

    async def _work(self) -> None:
        """Work while the lease is held, wait for it else. It is lost whenever the API server is away for some seconds,
        and comes back with it; to end the process would only add its start to the time that jobs are without us."""
        try:
            while True:
                await self._lease.acquire()
                await self._work_while_held()
        finally:
            self._stop.set()

    async def _work_while_held(self) -> None:
        self._operator.start()
        self._resync.begin()
        endless = [self._resync.run(), *(watcher.run() for watcher in self._watchers())]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in endless]
                await self._lease.hold()
                for task in tasks:
                    task.cancel()
        finally:
            await self._operator.stop()

    def _watchers(self) -> list[Watcher]:
        return [
            Watcher(self._cluster, kind=kind, namespace=namespace, tell=self.saw, jitter=random.random)
            for kind in sorted(watched())
            for namespace in self._options.namespaces or (None,)
        ]

    async def _measure_lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_LAG_S)
            self._lag_s = max(0.0, time.monotonic() - before - _LAG_S)

    async def _end(self) -> None:
        held = self._lease.is_held
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                _log.error("the operator ends because of an error of its own", exc_info=result)
        await self._operator.stop()
        server, thread = self._exporter
        server.shutdown()
        server.server_close()
        thread.join()
        if held:
            await self._lease.release()
        # Before kopf waits for what is left in the loop: in tests the other ends of our connections are.
        await self._cluster.close()


def default_identity() -> str:
    """Name of this pod: the same after a restart of the container, another for another pod."""
    return os.environ.get("HOSTNAME") or f"pid-{os.getpid()}"
