"""One command's life: look, act, tell, wait; until the job has come to its end or the user wants out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from thunderhead_api.conditions import is_finished, is_true
from thunderhead_api.job_exit import is_held
from thunderhead_api.messages import StatusReply
from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import ConditionType
from thunderhead_cli.local.agents import ask_status
from thunderhead_cli.local.cluster import LocalCluster
from thunderhead_cli.local.code import CodeWatch
from thunderhead_cli.local.faults import KillPod
from thunderhead_cli.local.kubelet import Kubelet
from thunderhead_cli.local.logs import LogFollower
from thunderhead_cli.local.news import news
from thunderhead_cli.local.progress_line import ProgressLine, progress_line
from thunderhead_cli.local.rundir import RunDir

LOOK_SECONDS: Final = 0.2
"""How often pods, agents and faults are looked at when nothing calls for it sooner."""


class Operator(Protocol):
    """The part of the operator that is the same everywhere."""

    async def reconcile(self, reply: StatusReply | None) -> float | None:
        """One pass over the job, knowing node 0's newest answer; seconds until the next is due (None: on a change)."""
        ...


@dataclass(slots=True)
class Session:
    """A job on this machine.

    Attributes:
        cluster: with the job in it.
        operator: decides and acts on it.
        kubelet: runs its pods.
        run: where the job object is kept.
        line: where the user reads.
        logs: of the pods, shown to the user.
        clock: monotonic seconds.
        faults: still to strike.
        code: tells when the files that run were edited.
        named: puts the user's files in the place of the pods' copies.
        killed: the user would not wait for the checkpoint.
    """

    cluster: LocalCluster
    operator: Operator
    kubelet: Kubelet
    run: RunDir
    line: ProgressLine
    logs: LogFollower
    clock: Callable[[], float]
    faults: list[KillPod]
    code: CodeWatch
    named: Callable[[str], str] = str
    killed: bool = False
    _stops: int = 0
    _looked: bool = False
    _told: TrainingJobStatus = field(default_factory=TrainingJobStatus)
    _saved_version: str = ""

    def ask_to_stop(self) -> None:
        """Ctrl-C or SIGTERM: the first asks for a checkpoint and an end, the second ends everything at once."""
        self._stops += 1
        if self._stops == 1:
            self.line.say("stopping: all ranks commit a checkpoint at the same step (Ctrl-C again kills them)")
            self.cluster.suspend()
        self.kubelet.changed.set()

    async def run_to_end(self) -> TrainingJobStatus:
        """Drive the job until it is finished, stopped or killed; no process of it is left."""
        began = self.clock()
        self._told = self.cluster.status
        try:
            while not self._is_over():
                await self.kubelet.sync()
                reply = await self._ask()
                self._show_logs()  # before the pass, which may take pods and their logs away
                due_in = await self.operator.reconcile(reply)
                self._looked = True
                self._save_and_tell()
                self._show(reply, self.clock() - began)
                self._strike(reply)
                self._tell_of_edits()
                await self._wait(due_in)
            if self._stops > 1 and not self._has_ended():
                await self._settle()
        finally:
            await self.kubelet.close()
            self._show_logs()
            for fault in self.faults:
                self.line.say(f"--kill-pod {fault} never struck: the job was over before it was seen there")
            self.line.close()
        return self.cluster.status

    def _is_over(self) -> bool:
        return self._stops > 1 or self._has_ended()

    def _has_ended(self) -> bool:
        """By itself, stopped with a checkpoint, or held by what only another job file can heal."""
        status = self.cluster.status
        stopped = is_true(status.conditions, ConditionType.SUSPENDED) and not self.cluster.pods()
        held = self._looked and is_held(status)  # what an earlier command was held by is no news of this one's file
        return is_finished(status.conditions) or held or (self._stops > 0 and stopped)

    async def _settle(self) -> None:
        """Kill everything, and enter into the ledger how far it had come: the table that follows shows it."""
        self.killed = True
        await self.kubelet.close()
        await self.operator.reconcile(None)  # before the kubelet looks, so that pods which never ran are not started
        await self.kubelet.sync()
        await self.operator.reconcile(None)
        self._save_and_tell()

    async def _ask(self) -> StatusReply | None:
        """Node 0's agent knows of all ranks."""
        pod = self.kubelet.running(0)
        if pod is None or pod.port is None:
            return None
        return await ask_status(pod.port, uid=self.cluster.job["metadata"]["uid"], attempt=pod.attempt)

    def _save_and_tell(self) -> None:
        job = self.cluster.job
        if job["metadata"]["resourceVersion"] == self._saved_version:
            return
        self._saved_version = job["metadata"]["resourceVersion"]
        self.run.save(job)
        status = self.cluster.status
        for sentence in news(self._told, status, is_shown=self.logs.is_shown):
            self.line.say(self.named(sentence))
        self._told = status

    def _show_logs(self) -> None:
        for text in self.logs.new_lines(self.kubelet.logs()):
            self.line.say(self.named(text))

    def _show(self, reply: StatusReply | None, elapsed_s: float) -> None:
        if reply is not None:
            self.line.show(progress_line(reply, nodes=self._told.nodes.summary, elapsed_s=elapsed_s))

    def _tell_of_edits(self) -> None:
        said = self.code.news()
        if said is not None:
            self.line.say(said)

    def _strike(self, reply: StatusReply | None) -> None:
        for fault in list(self.faults):
            pod = self.kubelet.running(fault.node_rank)
            if reply and pod and pod.attempt == reply.attempt and fault.is_due(step=reply.step, percent=reply.percent):
                self.faults.remove(fault)
                self.line.say(f"--kill-pod {fault}: SIGKILL to every process of pod {pod.name} at step {reply.step}")
                pod.process.kill()

    async def _wait(self, due_in: float | None) -> None:
        """Until something ends, or the next look is due."""
        seconds = LOOK_SECONDS if due_in is None else min(due_in, LOOK_SECONDS)
        try:
            await asyncio.wait_for(self.kubelet.changed.wait(), max(seconds, 0.01))
        except TimeoutError:
            return
        self.kubelet.changed.clear()
