"""NetworkPolicies of live jobs that this operator would make otherwise: after an upgrade, or for other peers."""

from __future__ import annotations

from thunderhead_api.treaty import Annotation
from thunderhead_operator.plan.actions import CreateChild, Kind, RenewChild
from thunderhead_operator.plan.job import Context
from thunderhead_operator.plan.objects import Obj, name_of, owner_uid, section


def renewals(ctx: Context, wanted: tuple[CreateChild, ...]) -> tuple[RenewChild, ...]:
    """Those of ``wanted`` that are there and were rendered otherwise.

    Told by the hash that they bear, not by what they say: that would have to be read in every pass, and what comes back
    from an API server is never quite what was sent. So what somebody edits by hand stays until then."""
    there = {name_of(child): child for child in ctx.observed.network_policies if owner_uid(child) == ctx.job.uid}
    return tuple(
        RenewChild(child.kind, child.manifest)
        for child in wanted
        if child.kind is Kind.NETWORK_POLICY and (found := there.get(name_of(child.manifest))) is not None
        if _make(found) != _make(child.manifest)
    )


def _make(child: Obj) -> object:
    return section(child, "metadata", "annotations").get(Annotation.MAKE)
