"""A small world in one event loop: memory cluster, scripted kubelets, the operator's passes, and time by the tick."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from op_kubelet import Kubelets, Script, done_after

from thunderhead_api.messages import StatusReply
from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import API_VERSION, KIND
from thunderhead_operator.cluster.api import ClusterApi
from thunderhead_operator.cluster.errors import ApiError
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.control.keys import job_key
from thunderhead_operator.control.queue import Key
from thunderhead_operator.control.reconcile import Reconciler
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.objects import Manifest, Obj
from thunderhead_operator.plan.observed import Sample

START = datetime(2026, 1, 1, tzinfo=UTC)
NAMESPACE, NAME = "team", "digits"
KEY = (NAMESPACE, NAME)


def job(name: str = NAME, **spec: Any) -> Manifest:
    """A valid job; ``spec`` replaces parts of its spec, written as in YAML."""
    base: Manifest = {
        "module": {"class_path": "digits.Classifier"},
        "nodes": 2,
        "checkpoint": {"uri": "s3://bucket/prefix"},
        "restarts": {"maxRestarts": 2},
        "terminationGracePeriodSeconds": 30,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": base | spec,
    }


class World:
    """``tick`` moves everything by a second; ``settle`` until nothing happens."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        config: Config | None = None,
        wrap: Callable[[ClusterApi], ClusterApi] = lambda api: api,
    ) -> None:
        self.time = START
        self.cluster = MemoryCluster(lambda: self.time)
        self.kubelets = Kubelets(self.cluster, lambda: self.time, script or done_after(3))
        self.config = config or Config()
        self.api = wrap(self.cluster)
        self.dirty: dict[Key, None] = {}
        self.due: dict[Key, datetime] = {}
        self.failures = 0
        self.agent: Callable[[World], StatusReply | None] | None = None
        self.reconciler = self.new_reconciler()
        self.cluster.watch(self._saw)

    def new_reconciler(self) -> Reconciler:
        """An operator process with an empty memory."""
        return Reconciler(
            self.api,
            config=self.config,
            now=lambda: self.time,
            monotonic=lambda: (self.time - START).total_seconds(),
        )

    def restart_operator(self) -> None:
        """Kill it and start it again: it lists all jobs."""
        self.reconciler = self.new_reconciler()
        self.due.clear()
        self.dirty = {(o["metadata"]["namespace"], o["metadata"]["name"]): None for o in self.cluster.all(KIND)}

    def later(self, seconds: float) -> datetime:
        return self.time + timedelta(seconds=seconds)

    def submit(self, manifest: Manifest | None = None) -> Manifest:
        """A user creates a job."""
        return self.cluster.create(manifest or job())

    def edit_spec(self, **spec: Any) -> None:
        """A user edits the job."""
        self.cluster.edit(KIND, *KEY, lambda o: o["spec"].update(spec))

    @property
    def raw(self) -> Manifest:
        return self.cluster.get(KIND, *KEY)

    @property
    def uid(self) -> str:
        return str(self.raw["metadata"]["uid"])

    @property
    def status(self) -> TrainingJobStatus:
        return TrainingJobStatus.model_validate(self.raw.get("status", {}))

    def condition(self, type_: str) -> tuple[str, str] | None:
        """Status and reason of a condition."""
        return next(((c.status, c.reason) for c in self.status.conditions if c.type == type_), None)

    def message(self, type_: str) -> str:
        return next(c.message for c in self.status.conditions if c.type == type_)

    def pods(self) -> dict[str, Manifest]:
        return {pod["metadata"]["name"]: pod for pod in self.cluster.all("Pod")}

    def events(self) -> list[str]:
        found = sorted(self.cluster.all("Event"), key=lambda e: int(e["metadata"]["resourceVersion"]))
        return [event["reason"] for event in found]

    async def drain(self, max_passes: int = 200) -> None:
        """Passes until no key wants one now."""
        for _ in range(max_passes):
            if not self.dirty:
                return
            key = next(iter(self.dirty))
            del self.dirty[key]
            await self.one_pass(key)
        raise AssertionError(f"still dirty after {max_passes} passes: {list(self.dirty)}")

    async def one_pass(self, key: Key) -> None:
        self.due.pop(key, None)
        if self.agent is not None and key in self.reconciler.memories:
            reply = self.agent(self)
            self.reconciler.memories[key].sample = Sample(reply, self.time) if reply else None
        try:
            again = await self.reconciler(key)
        except ApiError:
            self.failures += 1
            again = 0.1
        if again is not None:
            if again <= 0:
                self.dirty[key] = None
            else:
                self.due[key] = self.time + timedelta(seconds=again)

    async def tick(self, count: int = 1) -> None:
        """Seconds: the nodes do their part, then the operator."""
        for _ in range(count):
            self.time += timedelta(seconds=1)
            self.kubelets.tick()
            for key in [key for key, due in self.due.items() if due <= self.time]:
                del self.due[key]
                self.dirty[key] = None
            await self.drain()

    async def run(self, until: Callable[[World], bool], limit: int = 300) -> None:
        """Tick until something is so."""
        await self.drain()
        for _ in range(limit):
            if until(self):
                return
            await self.tick()
        raise AssertionError(f"not so after {limit} s: {self.raw.get('status')}")

    async def finish(self, limit: int = 600) -> None:
        """Tick until the job is over."""
        await self.run(lambda w: w.condition("Complete") is not None or w.condition("Failed") is not None, limit)

    def _saw(self, event: str, kind: str, obj: Obj) -> None:
        key = job_key(kind, obj)
        if key is None or kind in ("Event", "Lease"):
            return
        if event == "DELETED" and kind == "Pod":
            self.reconciler.remember_ghost(key, obj)
        elif kind == "Pod":
            self.reconciler.remember_silence(key, obj)
        self.dirty[key] = None
