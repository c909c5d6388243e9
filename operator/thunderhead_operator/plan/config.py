"""What a site decides for all its jobs, and the bounds of every wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thunderhead_operator.plan.policy import Policy


@dataclass(frozen=True, kw_only=True)
class Config:
    """Arguments of every decision; the same for all jobs of one operator."""

    runtime_image: str = "thunderhead-runtime:dev"
    """Image of jobs that name none."""
    runtime_pull_policy: str | None = None
    """How that image is pulled; none: Kubernetes' default for its tag."""
    runtime_pull_secrets: tuple[str, ...] = ()
    """Secrets to pull that image with, by name, in the job's namespace."""
    agent_peers: tuple[dict[str, Any], ...] = field(
        default=({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "thunderhead"}}},)
    )
    """NetworkPolicyPeers that may reach the agents' port: the operator, Prometheus."""
    policy: Policy = field(default_factory=Policy)
    """What pod templates may ask for."""
    node_loss_toleration_s: int = 5
    """How long pods stay on a node that is not ready or unreachable once Kubernetes has said so."""
    survivor_grace_s: int = 5
    """What pods get to end after a failure: their process group is broken, no checkpoint can come of it."""
    overdue_s: float = 10.0
    """How long after its due time a pod that is still there is deleted by force."""
    peer_evidence_s: float = 60.0
    """How long to wait for Kubernetes to say what became of a pod whose peers have lost it: a dead node is called
    unreachable after up to 50 s."""
    assume_running_s: float = 60.0
    """Pods that have run so long while no agent could be asked count as running."""
    unschedulable_s: float = 8.0
    """How long a pod may wait for the scheduler before the job is called Blocked."""
    code_look_s: float = 60.0
    """How often a running job's code ConfigMap is compared with the copy that runs."""
    retry_s: float = 2.0
    """How often a refused child is tried again."""
    rehearse_s: float = 10.0
    """How often the API server is asked again about a changed spec whose pods it refused."""
    vain_attempts_s: float = 300.0
    """Upper bound of the wait before an attempt that follows several of which no pod was taken."""
    write_period_s: float = 10.0
    """Progress alone is written at most so often."""
    no_progress_limit: int = 10
    """So many executions in a row without a new step, free or charged, and the job is Failed."""
    restart_delay_max_s: float = 30.0
    """Upper bound of the wait before an attempt that follows several without a new step."""
