"""What an attempt gave up as it began: newer checkpoints that could not be read back whole, and the steps since."""

from __future__ import annotations

from thunderhead_api.status import GivenUp
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.span import records_of


def given_up_of(ctx: Context) -> GivenUp | None:
    """What the agents of the running attempt say of it, or said while they could be asked."""
    for said in (*records_of(ctx), *((ctx.reply,) if ctx.reply else ())):
        if said.passed_over and said.first_step is not None:
            newest = max(one.step for one in said.passed_over)
            return GivenUp(
                restored_step=said.first_step,
                steps=max(0, newest - said.first_step),
                checkpoints=list(said.passed_over),
            )
    return ctx.status.given_up


def sentence(given_up: GivenUp) -> str:
    """The same for people."""
    which = "; ".join(f"checkpoint of step {one.step} ({one.uri}): {one.why}" for one in given_up.checkpoints)
    return f"went on from step {given_up.restored_step}, {given_up.steps} steps were given up: {which}"
