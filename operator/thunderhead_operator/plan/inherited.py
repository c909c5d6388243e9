"""A status that an older operator wrote: what it left out and can still be told, while no attempt runs."""

from __future__ import annotations

from thunderhead_api.status import TrainingJobStatus
from thunderhead_operator.plan.job import Context
from thunderhead_operator.plan.world import world_of


def with_inheritance(ctx: Context, status: TrainingJobStatus) -> TrainingJobStatus:
    """``status`` with the world of its checkpoint and the spec of its last execution. A spec that was changed before
    this operator came tells nothing of what the checkpoint was taken with."""
    return _with_spec_of_last(_with_world(ctx, status))


def _with_world(ctx: Context, status: TrainingJobStatus) -> TrainingJobStatus:
    spec = ctx.job.spec
    if status.world is not None or status.checkpoint is None or spec is None or ctx.job.spec_hash != status.spec_hash:
        return status
    return status.model_copy(update={"world": world_of(spec).model_copy(update={"fixed": True})})


def _with_spec_of_last(status: TrainingJobStatus) -> TrainingJobStatus:
    last = status.ledger[-1] if status.ledger else None
    if last is None or last.spec_hash is not None or last.attempt != status.attempt or status.spec_hash is None:
        return status
    known = last.model_copy(update={"spec_hash": status.spec_hash})
    return status.model_copy(update={"ledger": [*status.ledger[:-1], known]})
