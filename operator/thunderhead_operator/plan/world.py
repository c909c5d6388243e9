"""What checkpoints are taken with: number of ranks and place. Once there may be one, a later attempt has to keep it."""

from __future__ import annotations

from thunderhead_api.conditions import Reason
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.status import TrainingJobStatus, World
from thunderhead_operator.plan.blocked import Block
from thunderhead_operator.plan.context import Context, Stage
from thunderhead_operator.plan.render import processes_per_node


def world_of(spec: TrainingJobSpec) -> World:
    """The world of an attempt with this spec, in which nothing has been saved yet."""
    return World(nodes=spec.nodes, processes_per_node=processes_per_node(spec), checkpoint_uri=spec.checkpoint.uri)


def with_world(ctx: Context, status: TrainingJobStatus) -> TrainingJobStatus:
    """``status`` with the world of its attempt, fixed once there may be a checkpoint of it. A status that an older
    operator wrote has none; the attempt's spec, if still the same, says it."""
    world = status.world
    if world is None and ctx.job.spec is not None and ctx.job.spec_hash == status.spec_hash:
        world = world_of(ctx.job.spec)
    if world is None or world.fixed or not _may_have_saved(ctx):
        return status if world is status.world else status.model_copy(update={"world": world})
    return status.model_copy(update={"world": world.model_copy(update={"fixed": True})})


def other_world(ctx: Context) -> Block | None:
    """The block on a spec whose attempts could not go on from what the job has saved."""
    spec, was = ctx.job.spec, ctx.status.world
    if spec is None or was is None or not was.fixed or spec.checkpoint.resume == "Never":
        return None
    now = world_of(spec)
    ranks = f"the job's checkpoints are of {was.nodes} nodes × {was.processes_per_node} processes"
    ranks += " and no other number can go on from them"
    for field, then, value, rule in (
        ("nodes", was.nodes, now.nodes, ranks),
        ("processesPerNode", was.processes_per_node, now.processes_per_node, ranks),
        ("checkpoint.uri", was.checkpoint_uri, now.checkpoint_uri, "the job's checkpoints are not there"),
    ):
        if str(then).rstrip("/") != str(value).rstrip("/"):
            remedy = f"set it back to {then}, or begin anew: another job, or spec.checkpoint.resume: Never"
            return Block(Reason.CANNOT_CONTINUE, f"spec.{field} = {value}: {rule}; {remedy}")
    return None


def _may_have_saved(ctx: Context) -> bool:
    """A checkpoint is known, or all nodes have started, without which there is none."""
    if ctx.status.checkpoint is not None:
        return True
    seen = {**ctx.ghosts, **ctx.current}
    gone = ctx.job.stage is Stage.RUNNING  # a pod that is missing then was there, and nobody saw how far it came
    return ctx.num_nodes > 0 and all(seen[rank].started if rank in seen else gone for rank in range(ctx.num_nodes))
