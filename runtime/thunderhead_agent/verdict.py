"""Who was it? Node 0 hears of failures in some order; this module picks the one that explains the others. Pure.

A dead rank breaks its peers' collectives within milliseconds, so nearly every failure is reported several times over.
A cause of its own beats what may be either, that beats a symptom; within one weight the first report wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from thunderhead_agent.wire import Failure, Verdict
from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import Outcome

CAUSE = 0
UNCLEAR = 1
SYMPTOM = 2

WINDOW_SECONDS = 1.5
"""How long further reports may change the verdict once a cause is known."""
SYMPTOM_WINDOW_SECONDS = 5.0
"""How long to wait for a cause while there are only symptoms: the node that died has no agent left to report it."""

ENDED_WELL = (Outcome.DONE, Outcome.STOPPED)
WHOLE_JOB = (Outcome.SUPERSEDED, Outcome.STORAGE_REFUSED, Outcome.INVALID_CONFIGURATION, Outcome.STOPPED)
"""Outcomes that a node states as its own when its workers met them, wherever the first report came from."""


def choose(failures: Sequence[Failure]) -> Failure:
    """The failure that explains the others; ``failures`` in the order of arrival, not empty."""
    return min(failures, key=lambda failure: failure.weight)


@dataclass(slots=True)
class Tribunal:
    """Collects what the nodes report about one execution and says when, and how, it ended."""

    nodes: int
    failures: list[Failure] = field(default_factory=list)
    finished: dict[int, Outcome] = field(default_factory=dict)
    first_failure_at: float = 0.0

    def fail(self, failure: Failure, now: float) -> None:
        """A node reports a failure; ``now`` in seconds of any steady clock."""
        if not self.failures:
            self.first_failure_at = now
        self.failures.append(failure)

    def finish(self, node_rank: int, outcome: Outcome) -> None:
        """A node's workers have all ended well."""
        self.finished[node_rank] = outcome

    def verdict(self, now: float) -> Verdict | None:
        """The verdict, or ``None`` while it could still change."""
        if self.failures:
            if now < self.due_at:
                return None
            culprit = choose(self.failures)
            return Verdict(outcome=culprit.outcome, culprit=culprit.culprit)
        if len(self.finished) < self.nodes:
            return None
        stopped = Outcome.STOPPED in self.finished.values()
        return Verdict(outcome=Outcome.STOPPED if stopped else Outcome.DONE)

    @property
    def due_at(self) -> float:
        """When the failures collected so far are final."""
        heard = {f.culprit.node_rank for f in self.failures} | set(self.finished)
        if not any(f.weight == CAUSE for f in self.failures):
            return self.first_failure_at + SYMPTOM_WINDOW_SECONDS
        return self.first_failure_at + (0.0 if len(heard) >= self.nodes else WINDOW_SECONDS)


def outcome_for(verdict: Verdict, node_rank: int, own: Iterable[Outcome]) -> Outcome:
    """What node ``node_rank`` states, given the outcomes of its own workers."""
    if verdict.outcome in ENDED_WELL:
        return verdict.outcome
    if verdict.outcome in WHOLE_JOB and verdict.outcome in own:
        return verdict.outcome
    if verdict.culprit is not None and verdict.culprit.node_rank == node_rank and verdict.culprit.rank is not None:
        return verdict.outcome
    return Outcome.PEER_FAILED


def lost_agent(node_rank: int, pod: str | None, node: str | None, detail: str) -> Failure:
    """The failure that stands for an agent which can no longer be heard."""
    message = f"the agent of node {node_rank} can no longer be heard: {detail}"
    culprit = Culprit(node_rank=node_rank, pod=pod, node=node, reason="AgentLost", message=message)
    return Failure(outcome=Outcome.FAILED, weight=CAUSE, culprit=culprit)
