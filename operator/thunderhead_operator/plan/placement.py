"""Why a pod has no node yet. The scheduler says so in a condition; but it says nothing of pods that wait for a claim
which nobody has made, and nobody does of those that name a scheduler that does not run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from thunderhead_api.conditions import Reason
from thunderhead_operator.plan.objects import Obj, items, section


@dataclass(frozen=True)
class Unplaced:
    """Reason and message, as the condition ``Blocked`` has them if it stays so."""

    reason: str
    message: str


def why_unplaced(pod: Obj) -> Unplaced | None:
    """What a pod without a node waits for, as far as can be known; None where it has one, or is over."""
    spec, status = section(pod, "spec"), section(pod, "status")
    if spec.get("nodeName") or status.get("phase", "Pending") != "Pending":
        return None
    condition = next((c for c in items(status, "conditions") if c.get("type") == "PodScheduled"), {})
    if condition.get("status") == "True":
        return None
    missing = ", ".join(_claims_not_made(spec, status))
    if condition.get("status") == "False" and not (missing and condition.get("reason") != "Unschedulable"):
        said = str(condition.get("message") or condition.get("reason") or "the scheduler found no node")
        return Unplaced(Reason.UNSCHEDULABLE, said)
    if missing:
        return Unplaced(Reason.RESOURCE_CLAIM_MISSING, f"no ResourceClaim has been made from {missing}")
    claims = ", ".join(_named_claims(spec))
    if claims:
        said = f"no scheduler has looked at it; it waits for {claims} to exist, or to be allocated"
        return Unplaced(Reason.RESOURCE_CLAIM_MISSING, said)
    scheduler = spec.get("schedulerName") or "default-scheduler"
    return Unplaced(Reason.UNSCHEDULABLE, f'no scheduler has looked at it; does "{scheduler}" run?')


def _claims_not_made(spec: Obj, status: Obj) -> Iterator[str]:
    """A claim that was made from a template has its name in the pod's status."""
    made = {entry.get("name") for entry in items(status, "resourceClaimStatuses")}
    for claim in items(spec, "resourceClaims"):
        if claim.get("resourceClaimTemplateName") and claim.get("name") not in made:
            yield f'ResourceClaimTemplate "{claim["resourceClaimTemplateName"]}"'


def _named_claims(spec: Obj) -> Iterator[str]:
    return (
        f'ResourceClaim "{c["resourceClaimName"]}"' for c in items(spec, "resourceClaims") if c.get("resourceClaimName")
    )
