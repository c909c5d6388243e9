"""The same failure twice is no bad luck: one exception, from one line, at one step, with no new step in between."""

from __future__ import annotations

from typing import Final

from thunderhead_api.messages import Culprit
from thunderhead_api.status import LedgerEntry
from thunderhead_api.treaty import Cause
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.span import Span

ON_PURPOSE: Final = frozenset({Cause.SUSPENDED, Cause.SPEC_CHANGED, Cause.RESTART_REQUESTED, Cause.COMPLETED})
"""Ends that the user wanted: what came before may have been mended meanwhile."""


def same_before(ctx: Context, cause: Cause, culprit: Culprit | None, span: Span) -> LedgerEntry | None:
    """The entry that ended by the very failure that ends the running attempt now, if nothing was gained in between.

    Only failures with a place count: the agent gives none to signals, memory, peers, network and storage.
    """
    wanted = _identity(cause, culprit)
    if wanted is None or culprit is None:
        return None
    reached = max(span.last_step or 0, culprit.step or 0)
    for entry in reversed(ctx.status.ledger):
        if entry.cause in ON_PURPOSE or (entry.spec_hash, entry.code_hash) != _ran(ctx):
            return None
        if _identity(entry.cause, entry.culprit) == wanted:
            return entry if reached <= max(entry.last_step or 0, culprit.step or 0) else None
        reached = max(reached, entry.last_step or 0)
    return None


def _identity(cause: Cause, culprit: Culprit | None) -> tuple[str, str, int] | None:
    if cause is not Cause.PROCESS_FAILED or culprit is None or culprit.place is None or culprit.reason is None:
        return None
    return culprit.reason, culprit.place, culprit.step or 0


def _ran(ctx: Context) -> tuple[str | None, str | None]:
    return ctx.status.spec_hash, ctx.status.code_hash
