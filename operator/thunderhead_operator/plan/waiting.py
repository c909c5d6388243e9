"""What an attempt waits for between its promise and its first step together, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from thunderhead_api.conditions import Reason
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.pods import PodView

_SHOWN = 4


def waiting_for(ctx: Context) -> tuple[Reason, str]:
    """Reason and message of ``Running`` while it is not so."""
    total, started = ctx.num_nodes, sum(pod.running_since is not None for pod in ctx.current.values())
    if started < total:
        late = _some(_late(ctx))
        return Reason.WAITING_FOR_PODS, f"{started} of {total} pods run" + (f"; {late}" if late else "")
    reply = ctx.reply
    if reply is None:
        return Reason.WAITING_FOR_RANKS, "all pods run, the agent of node rank 0 has not answered yet"
    missing = _some(f"node rank {rank}" for rank in reply.missing_nodes)
    said = f"{reply.ranks_met} of {reply.world_size} ranks have met, node rank 0 is at {reply.phase}"
    return Reason.WAITING_FOR_RANKS, said + (f"; missing: {missing}" if missing else "")


def _late(ctx: Context) -> Iterator[str]:
    for rank, pod in sorted(ctx.current.items()):
        if pod.running_since is None and not pod.terminated:
            yield f"{pod.name} (node rank {rank}): {_why(ctx, pod)}"


def _why(ctx: Context, pod: PodView) -> str:
    if pod.unplaced is not None:
        patience = timedelta(seconds=ctx.config.unschedulable_s)
        is_young = pod.created_at is None or ctx.now < pod.created_at + patience
        return "no node yet" if is_young else f"no node yet, {pod.unplaced.message}"
    if pod.waiting is not None:
        return f"{pod.waiting.reason}" + (f", {pod.waiting.message}" if pod.waiting.message else "")
    return f"on {pod.node}, its container has not started" if pod.node else "no node yet"


def _some(words: Iterable[str]) -> str:
    every = list(words)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
