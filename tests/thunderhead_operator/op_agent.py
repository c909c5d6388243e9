"""What node 0's agent says, and how far a job is by it."""

from __future__ import annotations

from collections.abc import Callable

from op_world import World

from thunderhead_api.messages import StatusReply


def tells_where_it_is(world: World) -> StatusReply | None:
    """Node 0's agent once its pod runs: all ranks have met and done some steps."""
    uid, attempt = world.uid, world.status.attempt
    pod = world.pods().get(f"digits-{attempt}-0")
    if pod is None or pod["status"]["phase"] != "Running":
        return None
    where = {"node_rank": 0, "phase": "Train", "world_size": 2, "ranks_met": 2, "first_step": 0, "step": 5}
    return StatusReply.model_validate({"uid": uid, "attempt": attempt, **where})


def runs_attempt(number: int) -> Callable[[World], bool]:
    return lambda w: w.status.attempt == number and w.condition("Running") == ("True", "Training")
