"""Where the time of an execution went: what the lead worker has counted, and the phases it was seen in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from thunderhead.job.board import Phase
from thunderhead_agent.reading import Reading
from thunderhead_api.messages import TimeSpent
from thunderhead_api.time_spent import time_spent

_STARTING: Final = (Phase.STARTING, Phase.RENDEZVOUS, Phase.BUILDING, Phase.RESTORING)
_EVALUATING: Final = (Phase.VALIDATE, Phase.TEST, Phase.PREDICT)


@dataclass(slots=True)
class Spending:
    """Phases, sampled: each lasts from one look to the next.

    Attributes:
        starting_s: in what comes before the first step, restoring included.
        evaluating_s: in validation, test and prediction.
    """

    starting_s: float = 0.0
    evaluating_s: float = 0.0
    _seen_at: float = field(default=0.0)

    def look(self, lead: Reading | None, uptime_s: float) -> TimeSpent:
        """The account so far; ``lead`` is None before the workers run."""
        passed, self._seen_at = uptime_s - self._seen_at, uptime_s
        if lead is None or lead.phase in _STARTING:
            self.starting_s += passed
        elif lead.phase in _EVALUATING:
            self.evaluating_s += passed
        if lead is None:
            return time_spent(starting=self.starting_s)
        seconds = {
            "counted": lead.training_s,
            "repeated": lead.repeated_s,
            "checkpoint_stall": lead.checkpoint_s,
            "restoring": lead.restoring_s,
            "starting": max(0.0, self.starting_s - lead.restoring_s),
            "validation": self.evaluating_s,
        }
        return time_spent(**seconds, other=uptime_s - sum(seconds.values()))
