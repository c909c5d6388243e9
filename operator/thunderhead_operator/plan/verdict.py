"""Why an attempt is over: the first cause, not its echoes.

One dead process takes its peers with it, so most of what is seen is an echo. In order of trust: a record that says the
job itself is wrong; a disruption that Kubernetes tells of (its mark is in the API before the first process dies of it,
so a failure seen beside it is its echo); a record that names the first failure; a container that died without a word;
peers that lost somebody of whom nothing is known yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from thunderhead_api.messages import Culprit, TerminationRecord
from thunderhead_api.names import pod_name
from thunderhead_api.treaty import OUTCOME_OF, Cause, Outcome
from thunderhead_operator.plan.context import Context, Stage
from thunderhead_operator.plan.pods import PodView, Terminated

_DISRUPTIONS: Final = {
    "PreemptionByScheduler": Cause.PREEMPTED,
    "EvictionByEvictionAPI": Cause.DRAINED,
    "DeletionByPodGC": Cause.NODE_LOST,
    "TerminationByKubelet": Cause.EVICTED,
}
_POD_REASONS: Final = {
    "Evicted": Cause.EVICTED,
    "Preempting": Cause.PREEMPTED,
    "Terminated": Cause.DRAINED,  # graceful shutdown of the node
    "NodeShutdown": Cause.DRAINED,
    "Shutdown": Cause.DRAINED,
    "NodeLost": Cause.NODE_LOST,
    "NodeAffinity": Cause.EVICTED,  # from here on: a kubelet that would not admit the pod
    "UnexpectedAdmissionError": Cause.EVICTED,
    "TopologyAffinityError": Cause.EVICTED,
    "InvalidNodeInfo": Cause.EVICTED,
}
_LOST_CONTAINER: Final = frozenset({"ContainerStatusUnknown", "Unknown"})  # the node restarted under it
_RANK: Final = (Cause.NODE_LOST, Cause.PREEMPTED, Cause.EVICTED, Cause.DRAINED, Cause.POD_DELETED)
_WRONG_JOB: Final = {
    Outcome.INVALID_CONFIGURATION: Cause.INVALID_CONFIGURATION,
    Outcome.STORAGE_REFUSED: Cause.STORAGE_REFUSED,
}
_SIGKILL: Final = 137
_RAN_OUT_OF_GRACE: Final = "GracePeriodExceeded"  # the agent ended ranks that would not stop: that follows a deletion


@dataclass(frozen=True)
class Verdict:
    """Cause and culprit of an attempt's end; ``intact`` while a checkpoint can still be agreed on by all pods."""

    cause: Cause
    culprit: Culprit
    intact: bool = False


@dataclass(frozen=True)
class Pending:
    """Something is wrong, but whose fault it is will only be known later, at the latest ``until``."""

    until: datetime


def verdict_of(ctx: Context) -> Verdict | Pending | None:
    """What the pods of the running attempt say; None while nothing is wrong."""
    pods = _seen(ctx)
    disrupted = _disruptions(ctx, pods)
    return (
        _wrong_job(pods.values())
        or _first_disruption(ctx, disrupted, pods)
        or _first_failure(pods)
        or _silent_death(pods.values())
        or _echo(ctx, pods)
    )


def is_done(pod: PodView) -> bool:
    """The trainer of this pod finished its work."""
    if pod.terminated is None:
        return False
    return pod.record.outcome is Outcome.DONE if pod.record else pod.terminated.exit_code == 0


def is_cut_off(pod: PodView) -> bool:
    """Its node no longer answers: nobody there will confirm the pod's end, so waiting for it gains nothing."""
    if pod.terminated or pod.stopped:
        return False
    return pod.node_silent or (pod.disruption == "DeletionByTaintManager" and not pod.ready)


def _seen(ctx: Context) -> dict[int, PodView]:
    """Pods by node rank, with the last sight of those that are gone: one that finished before it went is no loss."""
    if ctx.job.stage is Stage.CREATING:
        return ctx.current
    return {**ctx.ghosts, **ctx.current}


def _wrong_job(pods: Iterable[PodView]) -> Verdict | None:
    for pod in pods:
        if pod.record and pod.record.outcome in _WRONG_JOB:
            return Verdict(_WRONG_JOB[pod.record.outcome], _culprit(pod, pod.record))
    return None


def _disruptions(ctx: Context, pods: Mapping[int, PodView]) -> dict[int, Cause]:
    found: dict[int, Cause] = {}
    if ctx.job.stage is not Stage.CREATING:
        found |= dict.fromkeys(ctx.missing, Cause.POD_DELETED)
    for rank, pod in pods.items():
        if is_done(pod) or _failed_by_itself(pod):
            found.pop(rank, None)
        elif cause := _disruption(pod, was_silent=pod.uid in ctx.observed.silent):
            found[rank] = cause
    return found


def _disruption(pod: PodView, *, was_silent: bool) -> Cause | None:
    if pod.disruption == "DeletionByTaintManager":
        # The same eviction follows a NoExecute taint of an administrator; there the kubelet lives and reports. It also
        # reports again where the node was only out of reach, or the API server away: then the silence came first.
        return Cause.NODE_LOST if was_silent or is_cut_off(pod) else Cause.DRAINED
    if pod.reason in _POD_REASONS:
        return _POD_REASONS[pod.reason]
    if pod.reason.startswith("OutOf"):
        return Cause.EVICTED
    if pod.disruption:
        return _DISRUPTIONS.get(pod.disruption, Cause.EVICTED)
    if pod.terminated and pod.record is None and pod.terminated.reason in _LOST_CONTAINER:
        return Cause.NODE_LOST
    return Cause.POD_DELETED if pod.terminating else None


def _failed_by_itself(pod: PodView) -> bool:
    """Its own process failed, and only then was the pod deleted: the record decides."""
    record = pod.record
    if record is None or record.outcome not in (Outcome.FAILED, Outcome.HUNG) or record.culprit is None:
        return False
    return record.culprit.node_rank == pod.node_rank and record.culprit.reason != _RAN_OUT_OF_GRACE


def _first_disruption(ctx: Context, found: Mapping[int, Cause], pods: Mapping[int, PodView]) -> Verdict | None:
    if not found:
        return None
    rank = min(found, key=lambda r: (_RANK.index(found[r]), r))
    pod, cause = pods.get(rank), found[rank]
    all_there = not ctx.missing and not any(p.terminated and not is_done(p) for p in ctx.current.values())
    return Verdict(
        cause,
        Culprit(
            node_rank=rank,
            pod=pod_name(ctx.job.name, ctx.status.attempt, rank),
            node=pod.node if pod else None,
            reason=(pod.disruption or pod.reason or None) if pod else None,
            message=_said_of(pod, cause) if pod else None,
        ),
        intact=all_there and cause is not Cause.NODE_LOST,
    )


def _said_of(pod: PodView, cause: Cause) -> str | None:
    if cause is Cause.NODE_LOST and pod.disruption == "DeletionByTaintManager" and not pod.message:
        return f"Kubernetes had no word of node {pod.node} and evicted the pod"
    return pod.message or None


def _first_failure(pods: Mapping[int, PodView]) -> Verdict | None:
    """A record that names the first failure, on which the agents agreed; a failed pod's own word before an echo's."""
    told = [p for p in pods.values() if p.record and p.record.outcome in (Outcome.FAILED, Outcome.HUNG)]
    told += [p for p in pods.values() if p.record and p.record.outcome is Outcome.PEER_FAILED]
    for pod in told:
        assert pod.record is not None
        cause = _cause_of_record(pod.record)
        if cause:
            return Verdict(cause, _culprit(pods.get(_culprit_rank(pod), pod), pod.record))
    return None


def _culprit_rank(pod: PodView) -> int:
    culprit = pod.record.culprit if pod.record else None
    return pod.node_rank if culprit is None or culprit.node_rank is None else culprit.node_rank


def _cause_of_record(record: TerminationRecord) -> Cause | None:
    culprit = record.culprit
    if record.outcome is Outcome.HUNG:
        return Cause.HUNG
    if culprit is None:
        return None if record.outcome is Outcome.PEER_FAILED else Cause.PROCESS_FAILED
    if culprit.reason == Cause.OUT_OF_MEMORY:
        return Cause.OUT_OF_MEMORY
    if culprit.signal:
        return Cause.PROCESS_KILLED
    if record.outcome is Outcome.PEER_FAILED and culprit.rank is None and culprit.exit_code is None:
        return None  # no rank of a peer failed, its agent fell silent: that says nothing about why
    return Cause.PROCESS_FAILED


def _silent_death(pods: Iterable[PodView]) -> Verdict | None:
    """A container that ended without a record: its exit code is all there is."""
    for pod in pods:
        end = pod.terminated
        if end is None:
            if pod.stopped and pod.phase == "Failed":
                return Verdict(Cause.POD_FAILED, _culprit(pod, None))
            continue
        if pod.record is None and end.exit_code != 0:
            cause = _cause_of_exit(end)
            if cause:
                return Verdict(cause, _culprit(pod, None))
        elif pod.record and pod.record.outcome is Outcome.STOPPED:
            return Verdict(Cause.DRAINED, _culprit(pod, pod.record), intact=True)  # somebody sent it a SIGTERM
        elif pod.record and pod.record.outcome is Outcome.SUPERSEDED:
            return Verdict(Cause.SUPERSEDED, _culprit(pod, pod.record))
    return None


def _cause_of_exit(end: Terminated) -> Cause | None:
    if end.reason == "OOMKilled":
        return Cause.OUT_OF_MEMORY
    outcome = OUTCOME_OF.get(end.exit_code)
    by_outcome = {
        Outcome.PEER_FAILED: None,
        Outcome.HUNG: Cause.HUNG,
        Outcome.STOPPED: Cause.DRAINED,
        Outcome.SUPERSEDED: Cause.SUPERSEDED,
        Outcome.STORAGE_REFUSED: Cause.STORAGE_REFUSED,
        Outcome.INVALID_CONFIGURATION: Cause.INVALID_CONFIGURATION,
    }
    return by_outcome.get(outcome, Cause.POD_FAILED) if outcome else Cause.POD_FAILED


def _echo(ctx: Context, pods: Mapping[int, PodView]) -> Verdict | Pending | None:
    """Only pods that lost a peer. If nobody who could tell is left, one of them is named; else Kubernetes gets time to
    notice what became of the silent one."""
    echoes = [pod for pod in pods.values() if pod.terminated and not is_done(pod)]
    if not echoes:
        return None
    lost = _silent_rank(echoes)
    silent = pods.get(lost) if lost is not None else None
    if silent is not None and silent.node_silent:
        return Verdict(Cause.NODE_LOST, _culprit(silent, None))
    ends = [pod.terminated.finished_at for pod in echoes if pod.terminated and pod.terminated.finished_at]
    until = min(ends, default=ctx.now) + timedelta(seconds=ctx.config.peer_evidence_s)
    undecided = [p for p in pods.values() if p.terminated is None]
    if undecided and ctx.now < until:
        return Pending(until)
    first = silent or echoes[0]
    said = f"no agent of node rank {first.node_rank} answered its peers, and nobody could tell why"
    return Verdict(Cause.POD_FAILED, _culprit(first, None).model_copy(update={"message": said}))


def _silent_rank(echoes: Iterable[PodView]) -> int | None:
    ranks = (p.record.culprit.node_rank for p in echoes if p.record and p.record.culprit)
    return next((rank for rank in ranks if rank is not None), None)


def _culprit(pod: PodView, record: TerminationRecord | None) -> Culprit:
    """What the record says, completed by what Kubernetes knows of the pod."""
    said = record.culprit if record and record.culprit else Culprit()
    end = pod.terminated
    known = Culprit(
        node_rank=pod.node_rank,
        pod=pod.name,
        node=pod.node,
        exit_code=end.exit_code if end else None,
        signal="SIGKILL" if end and end.exit_code == _SIGKILL else None,
        reason=(end.reason if end else pod.reason) or None,
        message=_tail(end, record) or pod.message or None,
    )
    return known.model_copy(update=said.model_dump(exclude_none=True, by_alias=False) | _own_end(record, said))


def _own_end(record: TerminationRecord | None, said: Culprit) -> dict[str, int | str | None]:
    """With a record, exit code and signal are the culprit process's or unknown: the container's are the agent's own."""
    return {"exit_code": said.exit_code, "signal": said.signal} if record and record.culprit else {}


def _tail(end: Terminated | None, record: TerminationRecord | None) -> str | None:
    """A message that is no record is shown as it is, the end of it."""
    return end.message[-2048:] if end and end.message and record is None else None
