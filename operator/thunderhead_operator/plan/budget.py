"""What an ended attempt costs: nothing, one restart of the budget, or the job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from thunderhead_api.conditions import Reason
from thunderhead_api.messages import Culprit
from thunderhead_api.rules import judge
from thunderhead_api.status import LedgerEntry
from thunderhead_api.treaty import FINAL_CAUSES, Cause
from thunderhead_operator.plan.hold import is_vain_change
from thunderhead_operator.plan.job import Context
from thunderhead_operator.plan.steps import Span

_ON_PURPOSE: Final = frozenset({Cause.SUSPENDED, Cause.SPEC_CHANGED, Cause.RESTART_REQUESTED, Cause.COMPLETED})


@dataclass(frozen=True)
class Price:
    """``free``: the budget is untouched. ``final``: no further attempt, for ``reason``."""

    free: bool
    final: bool = False
    reason: str | None = None


def price_of(ctx: Context, cause: Cause, culprit: Culprit | None, span: Span) -> Price:
    """What ending the running attempt for ``cause`` costs: the job's rules first, then its budget, then the no-progress
    bound, without which a job that is disrupted at every start would go on for nothing for ever."""
    if is_vain_change(ctx, cause):
        return Price(free=True)
    if cause in FINAL_CAUSES:
        return Price(free=True, final=True, reason=cause.value)
    restarts = ctx.job.spec.restarts if ctx.job.spec else None
    judgement = judge(restarts.rules if restarts else (), cause, culprit)
    if judgement.is_final:
        return Price(free=False, final=True, reason=Reason.FAILED_BY_RULE)
    if not judgement.is_free:
        exhausted = ctx.status.restarts.charged >= (restarts.max_restarts if restarts else 0)
        return Price(free=False, final=exhausted, reason=Reason.RESTARTS_EXHAUSTED if exhausted else None)
    if cause not in _ON_PURPOSE and not has_gained(ctx.status.ledger, span.first_step, span.last_step):
        fruitless = 1 + fruitless_tail(ctx.status.ledger, free_only=True)
        if fruitless >= ctx.config.no_progress_limit:
            return Price(free=True, final=True, reason=Reason.NO_PROGRESS)
    return Price(free=True)


def fruitless_tail(ledger: Sequence[LedgerEntry], *, free_only: bool = False) -> int:
    """How many of the newest entries in a row ended without a new step; what a user ended on purpose breaks the row."""
    count = 0
    for index in range(len(ledger) - 1, -1, -1):
        entry = ledger[index]
        gained = has_gained(ledger[:index], entry.first_step, entry.last_step)
        if gained or entry.cause in _ON_PURPOSE or (free_only and not entry.free):
            break
        count += 1
    return count


def has_gained(earlier: Sequence[LedgerEntry], first: int | None, last: int | None) -> bool:
    """Whether an execution from step ``first`` to ``last`` got further than those before it: to a step that none had
    reached, or at least from a newer checkpoint than the one before. Steps that are only done again are no gain."""
    if last is None or last <= (first or 0):
        return False
    reached = max((e.last_step for e in earlier if e.last_step is not None), default=0)
    newer = bool(earlier) and (first or 0) > (earlier[-1].first_step or 0)
    return last > reached or newer


def restart_delay_s(ledger: Sequence[LedgerEntry], longest_s: float) -> float:
    """Wait before the next attempt: none after the first fruitless one, then 1, 2, 4 … seconds."""
    fruitless = fruitless_tail(ledger)
    return 0.0 if fruitless < 2 else min(2.0 ** min(fruitless - 2, 16), longest_s)
