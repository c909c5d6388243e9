"""Whether, when and how a run ends before its limits, on all of its ranks together."""

from __future__ import annotations

from typing import NoReturn

from thunderhead.core.ending import SIGTERMException
from thunderhead.core.position import Position
from thunderhead.job.link import Ask
from thunderhead.run.options import Options
from thunderhead.run.run import Run


def can_stop_early(options: Options, position: Position) -> bool:
    """Whether ``min_epochs`` and ``min_steps`` are met, so that ``should_stop`` counts."""
    return position.epoch >= (options.min_epochs or 0) and position.step >= (options.min_steps or 0)


def stop_together(run: Run) -> None:
    """End training early; called on every rank at the same moment."""
    run.stop.asked = True
    if run.control is not None:
        run.control.finish_together()


def stop_after_agreement(run: Run) -> None:
    """End training after a step that all ranks agree on; a single process just ends."""
    if run.strategy.world_size == 1 or run.control is None:
        run.stop.asked = True
    else:
        run.control.request(Ask.FINISH)


def clock_says(run: Run, ask: Ask, is_up: bool) -> bool:
    """One answer for all ranks to "is the time up?", without asking them at every step."""
    if run.strategy.world_size == 1 or run.control is None:
        return is_up
    return run.control.clock_says(ask, is_up)


def end_by_sigterm(run: Run) -> NoReturn:
    """A single process ends where it stands; several agree beside the training thread.

    Raises:
        SIGTERMException: always.
    """
    run.stop.by_sigterm = True
    raise SIGTERMException
