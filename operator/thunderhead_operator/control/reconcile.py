"""One pass over one job: read live, decide, perform; and what is kept in memory between passes, hints only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from thunderhead_api.treaty import Label
from thunderhead_operator.cluster.api import ClusterApi
from thunderhead_operator.cluster.errors import AlreadyExists, Forbidden, Invalid, NotFound
from thunderhead_operator.cluster.gather import gather
from thunderhead_operator.cluster.perform import Performed, perform, post
from thunderhead_operator.control.queue import Key
from thunderhead_operator.plan.actions import Decision, WriteStatus
from thunderhead_operator.plan.code import sight
from thunderhead_operator.plan.code_sight import CodeSight
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.decide import decide, wanted_reads
from thunderhead_operator.plan.farewell import farewell
from thunderhead_operator.plan.kinds import Children, Kind
from thunderhead_operator.plan.objects import Manifest, Obj, int_label, name_of, section, uid_of
from thunderhead_operator.plan.observed import Observed, Refusal, Rehearsal, Sample
from thunderhead_operator.plan.pods import is_silent

_log = logging.getLogger(__name__)
_BUSY_PASSES: Final = 25
_BUSY_WAIT_S: Final = 5.0
_GHOSTS_MAX: Final = 1024


@dataclass
class Memory:
    """What one operator process remembers of one job. Losing it costs precision and time, never correctness."""

    refusals: tuple[Refusal, ...] = ()
    rehearsal: Rehearsal | None = None
    rehearsed_at: float | None = None  # monotonic
    ghosts: dict[str, Obj] = field(default_factory=dict)  # by pod name
    silent: set[str] = field(default_factory=set)  # uids of the running attempt's pods whose node did not answer
    sample: Sample | None = None
    written_at: float | None = None  # monotonic
    version: str = ""  # resourceVersion that the last acting pass saw
    busy_passes: int = 0
    job: Obj | None = None  # as last read
    pods: tuple[Obj, ...] = ()  # as last read
    gone: bool = False  # the job is
    code_sight: CodeSight | None = None
    code_looked_at: tuple[str, float] | None = None  # name of the copy that was compared, monotonic


class Reconciler:
    """Runs passes. One instance serves all keys; the queue sees to it that a key is in one pass at a time."""

    def __init__(
        self,
        api: ClusterApi,
        *,
        config: Config,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        on_pass: Callable[[Key, Memory], None] = lambda key, memory: None,
    ) -> None:
        """``now``: wall clock for what is written; ``monotonic``: seconds for intervals; ``on_pass``: told of each, and
        once more when the job is gone."""
        self._api = api
        self._config = config
        self._now = now
        self._monotonic = monotonic
        self._on_pass = on_pass
        self.memories: dict[Key, Memory] = {}

    async def __call__(self, key: Key) -> float | None:
        """One pass; in how many seconds the next is due."""
        try:
            job, children = await self._read(key)
        except NotFound:
            await self._take_leave(key)
            return None
        memory = self._memory_of(key, job)
        _keep_last_sight(memory, children[Kind.POD])
        memory.silent |= {uid_of(pod) for pod in children[Kind.POD] if is_silent(pod)}
        observed = Observed(
            children=children,
            refusals=memory.refusals,
            rehearsal=memory.rehearsal,
            rehearsed_s=self._seconds_since(memory.rehearsed_at),
            ghosts=tuple(memory.ghosts.values()),
            silent=frozenset(memory.silent),
            sample=memory.sample,
            quiet_s=self._seconds_since(memory.written_at),
        )
        again = self._by_next_look(memory, await self._act(key, memory, job, observed))
        self._on_pass(key, memory)
        return again

    async def _take_leave(self, key: Key) -> None:
        """The job is not there (any more)."""
        forgotten = self.memories.pop(key, None)
        if forgotten is not None:
            forgotten.gone = True
            self._on_pass(key, forgotten)
        pods = (await self._api.list_children(*key))[Kind.POD]
        stops = farewell(key[1], None, pods, self._config)
        await perform(self._api, {"metadata": {"namespace": key[0], "name": key[1]}}, stops)

    async def _act(self, key: Key, memory: Memory, job: Obj, observed: Observed) -> float | None:
        """Decide and perform. A promise just written is kept at once, on the same reads: they are as old as its write
        took, and reading again would wait for the API server's caches to know of it."""
        decision, performed = await self._decide(key, memory, job, observed)
        again = self._learn(memory, job, decision, performed)
        if performed.job is None:
            return again
        memory.job = performed.job
        try:
            if decision.requeue_after == 0.0:
                again = await self._keep_promise(key, memory, performed.job, observed)
        finally:
            await post(self._api, job, decision.actions, self._now())
        return again

    async def _keep_promise(self, key: Key, memory: Memory, job: Obj, observed: Observed) -> float | None:
        """What the decision after a write asks of children. If it asks for another write, that is for the next pass."""
        observed = replace(observed, quiet_s=0.0, refusals=memory.refusals)
        observed = await self._read_contents(key, memory, job, observed)
        decision = decide(job, observed, self._now(), self._config)
        if not decision.actions or isinstance(decision.actions[0], WriteStatus):
            return 0.0
        return self._learn(memory, job, decision, await perform(self._api, job, decision.actions))

    async def _decide(self, key: Key, memory: Memory, job: Obj, observed: Observed) -> tuple[Decision, Performed]:
        observed = await self._read_contents(key, memory, job, observed)
        memory.job, memory.pods = job, observed.of(Kind.POD)
        decision = decide(job, observed, self._now(), self._config)
        return decision, await perform(self._api, job, decision.actions)

    async def _read(self, key: Key) -> tuple[Obj, Children]:
        """Job and children at once. Neither order would be safer, for either may change while the other is read; status
        writes are guarded by the job's version, and names by the attempt they bear."""
        reads: list[Coroutine[Any, Any, Any]] = [self._api.get_job(*key), self._api.list_children(*key)]
        job, children = await gather(reads)
        return job, children

    def remember_ghost(self, key: Key, pod: Obj) -> None:
        """The last sight of a pod that was deleted: the only place where its end may still be read."""
        memory = self.memories.setdefault(key, Memory())
        if len(memory.ghosts) < _GHOSTS_MAX:
            memory.ghosts[name_of(pod)] = _slim(pod)

    def remember_silence(self, key: Key, pod: Obj) -> None:
        """A node that does not answer may do so again before a pass reads its pods; what Kubernetes does to them for it
        comes seconds later."""
        if is_silent(pod) and key in self.memories and len(self.memories[key].silent) < _GHOSTS_MAX:
            self.memories[key].silent.add(uid_of(pod))

    def _memory_of(self, key: Key, job: Obj) -> Memory:
        """The memory of this very job: another one of the same name begins with none."""
        memory = self.memories.setdefault(key, Memory())
        if memory.job is not None and uid_of(memory.job) != uid_of(job):
            memory.gone = True
            memory = self.memories[key] = Memory()
        return memory

    def _seconds_since(self, moment: float | None) -> float:
        return float("inf") if moment is None else self._monotonic() - moment

    async def _read_contents(self, key: Key, memory: Memory, job: Obj, observed: Observed) -> Observed:
        """``observed`` with the ConfigMaps that this pass needs whole."""
        reads = wanted_reads(job, observed, self._now(), self._config)
        frozen = await self._config_map(key, reads.frozen) if reads.frozen else None
        return replace(
            observed,
            code=await self._first_of(key, reads.code),
            frozen=frozen,
            code_sight=await self._compare_code(key, memory, reads.compare),
            namespace_goes=reads.namespace and await self._namespace_goes(key[0]),
        )

    async def _compare_code(self, key: Key, memory: Memory, names: tuple[str, str] | None) -> CodeSight | None:
        """How the user's code compares with what runs, looked at now and then: nothing tells us of its edits."""
        if names is None:
            memory.code_looked_at = None
            return None
        user, copy = names
        looked_at, when = memory.code_looked_at or ("", 0.0)
        if looked_at == copy and self._monotonic() - when < self._config.code_look_s:
            return memory.code_sight
        memory.code_looked_at = copy, self._monotonic()
        memory.code_sight = sight(await self._config_map(key, user), await self._config_map(key, copy))
        return memory.code_sight

    def _by_next_look(self, memory: Memory, again: float | None) -> float | None:
        if memory.code_looked_at is None:
            return again
        due = max(0.01, memory.code_looked_at[1] + self._config.code_look_s - self._monotonic())
        return due if again is None else min(again, due)

    async def _namespace_goes(self, namespace: str) -> bool:
        """Told by what the API server would say to a new object: that needs no right on namespaces."""
        manifest: Manifest = {
            "apiVersion": "v1",
            "kind": Kind.CONFIG_MAP.value,
            "metadata": {"name": "thunderhead-question", "namespace": namespace},
        }
        try:
            await self._api.rehearse_child(Kind.CONFIG_MAP, namespace, manifest)
        except Forbidden as error:
            return "being terminated" in str(error)
        except (AlreadyExists, Invalid):
            return False
        return False

    async def _first_of(self, key: Key, names: Sequence[str]) -> Obj | None:
        for name in names:
            found = await self._config_map(key, name)
            if found is not None:
                return found
        return None

    async def _config_map(self, key: Key, name: str) -> Obj | None:
        try:
            return await self._api.get_child(Kind.CONFIG_MAP, key[0], name)
        except NotFound:
            return None

    def _learn(self, memory: Memory, job: Obj, decision: Decision, performed: Performed) -> float | None:
        attempt = section(job, "status").get("attempt", 0)
        for name in [n for n, ghost in memory.ghosts.items() if int_label(ghost, Label.ATTEMPT) < attempt]:
            del memory.ghosts[name]
        if performed.job is not None:
            memory.written_at = self._monotonic()
            if section(performed.job, "status").get("attempt", 0) != attempt:
                memory.refusals = ()  # what stood in the way of one attempt says nothing about the next
                memory.rehearsal = None  # and what was asked before one nothing about that after it
                memory.silent.clear()
            return decision.requeue_after
        news = _gists(performed.refusals) != _gists(memory.refusals)
        memory.refusals = performed.refusals  # of a pass that had nothing to make, none
        answer, before = performed.rehearsal, memory.rehearsal
        if answer is not None:
            memory.rehearsal, memory.rehearsed_at = answer, self._monotonic()
            news |= before is None or answer.gist != before.gist
        if not performed.acted:
            memory.busy_passes = 0
            return 0.0 if news else decision.requeue_after
        if performed.refusals and not news:
            rate = self._retry_s(performed.refusals)
            return min(decision.requeue_after or rate, rate)
        return _BUSY_WAIT_S if self._is_spinning(memory, job) else 0.0

    def _retry_s(self, refusals: Sequence[Refusal]) -> float:
        """What an upgrade would renew is refused for all jobs at once, and none of them waits for it."""
        return self._config.rehearse_s if all(r.renewal for r in refusals) else self._config.retry_s

    def _is_spinning(self, memory: Memory, job: Obj) -> bool:
        """Pass after pass acts and the job stays as it is: an error of ours or of somebody who undoes what we do. Slow
        down, so that it costs attention and not the API server."""
        version = str(section(job, "metadata").get("resourceVersion"))
        memory.busy_passes = memory.busy_passes + 1 if version == memory.version else 1
        memory.version = version
        if memory.busy_passes < _BUSY_PASSES:
            return False
        where = section(job, "metadata")
        _log.warning(
            "%s/%s: %d passes in a row acted without effect on the job; slowing down",
            where.get("namespace"),
            where.get("name"),
            memory.busy_passes,
        )
        return True


def _keep_last_sight(memory: Memory, pods: Sequence[Obj]) -> None:
    """Pods that the pass before read and this one does not are ghosts too: a read may be ahead of the watch."""
    there = {name_of(pod) for pod in pods}
    for pod in memory.pods:
        name = name_of(pod)
        if name not in there and name not in memory.ghosts and len(memory.ghosts) < _GHOSTS_MAX:
            memory.ghosts[name] = _slim(pod)


def _gists(refusals: Sequence[Refusal]) -> set[object]:
    return {refusal.gist for refusal in refusals}


def _slim(pod: Obj) -> Manifest:
    """What a verdict reads of a pod; ghosts are kept by the thousand."""
    meta = section(pod, "metadata")
    kept = ("name", "namespace", "uid", "labels", "ownerReferences", "deletionTimestamp", "creationTimestamp")
    return {
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"nodeName": section(pod, "spec").get("nodeName")},
        "status": section(pod, "status"),
    }
