"""Children of live jobs that this operator would make otherwise: after an upgrade, or for other peers of the agents."""

from __future__ import annotations

from thunderhead_api.treaty import Annotation
from thunderhead_operator.plan.actions import CreateChild, RenewChild
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.kinds import TRAITS
from thunderhead_operator.plan.objects import Obj, name_of, owner_uid, section


def renewals(ctx: Context, wanted: tuple[CreateChild, ...]) -> tuple[RenewChild, ...]:
    """Those of ``wanted`` that are there and were rendered otherwise.

    Told by the hash that they bear, not by what they say: that would have to be read in every pass, and what comes back
    from an API server is never quite what was sent. So what somebody edits by hand stays until then."""
    return tuple(
        RenewChild(child.kind, child.manifest)
        for child in wanted
        if TRAITS[child.kind].renewed and (found := _there(ctx, child)) is not None
        if _make(found) != _make(child.manifest)
    )


def _there(ctx: Context, wanted: CreateChild) -> Obj | None:
    ours = (child for child in ctx.observed.of(wanted.kind) if owner_uid(child) == ctx.job.uid)
    return next((child for child in ours if name_of(child) == name_of(wanted.manifest)), None)


def _make(child: Obj) -> object:
    return section(child, "metadata", "annotations").get(Annotation.MAKE)
