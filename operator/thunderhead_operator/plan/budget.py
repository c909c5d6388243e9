"""What an ended attempt costs: nothing, one restart of the budget, or the job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thunderhead_api.conditions import Reason
from thunderhead_api.messages import Culprit
from thunderhead_api.rules import judge
from thunderhead_api.status import LedgerEntry
from thunderhead_api.treaty import FINAL_CAUSES, Cause
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.hold import is_vain_change
from thunderhead_operator.plan.same_failure import ON_PURPOSE, same_before
from thunderhead_operator.plan.span import Span


@dataclass(frozen=True)
class Price:
    """``free``: the budget is untouched. ``final``: no further attempt, for ``reason``."""

    free: bool
    final: bool = False
    reason: str | None = None


def price_of(ctx: Context, cause: Cause, culprit: Culprit | None, span: Span) -> Price:
    """What ending the running attempt for ``cause`` costs: the job's rules first, then whether it is the same
    failure again, then the no-progress bound, without which a job that is disrupted at every start would go on for
    nothing for ever, then its budget."""
    if is_vain_change(ctx, cause):
        return Price(free=True)
    if cause in FINAL_CAUSES:
        return Price(free=True, final=True, reason=cause.value)
    if ctx.job.spec is None:  # neither rules nor budget are known; no other attempt begins until they are
        return Price(free=judge((), cause, culprit).is_free)
    restarts = ctx.job.spec.restarts
    judgement = judge(restarts.rules, cause, culprit)
    if judgement.is_final:
        return Price(free=False, final=True, reason=Reason.FAILED_BY_RULE)
    if judgement.rule is None and same_before(ctx, cause, culprit, span) is not None:
        return Price(free=judgement.is_free, final=True, reason=Reason.SAME_FAILURE)
    row = fruitless_row(ctx, cause, span)
    if row >= ctx.config.no_progress_limit:
        return Price(free=judgement.is_free, final=True, reason=Reason.NO_PROGRESS)
    if judgement.is_free:
        return Price(free=True)
    if ctx.status.restarts.charged < restarts.max_restarts:
        return Price(free=False)
    return Price(free=False, final=True, reason=_exhausted(row, restarts.max_restarts))


def _exhausted(row: int, allowed: int) -> Reason:
    """A budget that went into executions none of which made a new step is another story than failures on the way."""
    return Reason.NO_PROGRESS if row > allowed > 0 else Reason.RESTARTS_EXHAUSTED


def fruitless_row(ctx: Context, cause: Cause, span: Span) -> int:
    """How many executions in a row, with the one that ends now, made no new step; 0 if this one did."""
    if cause in ON_PURPOSE or has_gained(ctx.status.ledger, span.first_step, span.last_step):
        return 0
    return 1 + fruitless_tail(ctx.status.ledger)


def fruitless_tail(ledger: Sequence[LedgerEntry]) -> int:
    """How many of the newest entries in a row, free or charged, ended without a new step; what a user ended on purpose
    breaks the row."""
    count = 0
    for index in range(len(ledger) - 1, -1, -1):
        entry = ledger[index]
        if has_gained(ledger[:index], entry.first_step, entry.last_step) or entry.cause in ON_PURPOSE:
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
