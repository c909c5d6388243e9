"""What one rule of the machine answers: the status it wants, and what to do once the status says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from thunderhead_api.status import TrainingJobStatus
from thunderhead_operator.plan.actions import Action
from thunderhead_operator.plan.blocked import Block


@dataclass(frozen=True)
class Ruling:
    """``status`` is written first; ``actions`` are for a pass that finds it written; ``wake``: when to look again."""

    status: TrainingJobStatus
    actions: tuple[Action, ...] = ()
    wake: tuple[datetime, ...] = ()
    failure: str | None = None
    """Reason of the Failed condition this ruling sets, with ``message``."""
    message: str = ""
    hold: Block | None = None
    """Why no further attempt may begin with the spec as it is."""
    complete: bool = False
    suspended: bool | None = None
