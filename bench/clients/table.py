"""The table of clients: who runs as with Lightning, who does not, and why."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench.clients.client import Client
from bench.clients.running import Outcome

_NUMBER: Final = re.compile(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?")
# Means are summed in 64 bits here and in 32 there.
_ROUNDING: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Row:
    """One client, on both sides.

    Attributes:
        client: what was run.
        version: of its package.
        lightning: the outcome there.
        thunderhead: the outcome here.
    """

    client: Client
    version: str
    lightning: Outcome
    thunderhead: Outcome

    @property
    def passes(self) -> bool:
        """All that passes there passes here; a script ends well on both sides, with results equal within rounding."""
        there, here = self.lightning, self.thunderhead
        if self.client.script:
            ended = not there.failed and not here.failed and len(there.passed) == len(here.passed)
            return ended and self.distance <= _ROUNDING
        return bool(there.passed) and set(there.passed) <= set(here.passed)

    @property
    def equal(self) -> bool:
        """Every printed digit is the same."""
        return self.passes and self.lightning.passed == self.thunderhead.passed

    @property
    def distance(self) -> float:
        """By how much numbers differ at most, relative to the larger; infinite where words do."""
        pairs = zip(self.lightning.passed, self.thunderhead.passed, strict=False)
        return max((_distance(there, here) for there, here in pairs), default=0.0)

    def cells(self) -> list[str]:
        """For the table."""
        if self.client.script:
            of = len(self.lightning.passed)
            found = "equal to every digit" if self.equal else f"equal within {self.distance:.1g}"
            if not self.passes:
                why = (*self.thunderhead.failed, *self.lightning.failed, f"results differ by {self.distance:.1g}")[0]
                found = f"**fails**: {why}"
            there = f"{of} results" if not self.lightning.failed else "**fails**"
        else:
            there = f"{len(self.lightning.passed)} tests pass"
            missing = sorted(set(self.lightning.passed) - set(self.thunderhead.passed))
            found = f"the same {len(self.lightning.passed)}" if not missing else f"**all but {len(missing)}**"
        return [self.client.name, self.version, self.client.what, there, found, self.client.note]


def _distance(there: str, here: str) -> float:
    if _NUMBER.sub("#", there) != _NUMBER.sub("#", here):
        return float("inf")
    numbers = zip(_NUMBER.findall(there), _NUMBER.findall(here), strict=True)
    return max((abs(float(a) - float(b)) / max(1e-3, abs(float(a))) for a, b in numbers), default=0.0)


def markdown(rows: list[Row], versions: str) -> str:
    """The page."""
    head = ["client", "version", "what is run", "with Lightning", "with Thunderhead", ""]
    lines = [
        "# Clients",
        "",
        f"{sum(row.passes for row in rows)} of {len(rows)} run as with Lightning ({versions}).",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells()) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def as_json(row: Row) -> dict[str, Any]:
    """Everything that was found."""
    return {
        "client": row.client.name,
        "version": row.version,
        "what": row.client.what,
        "note": row.client.note,
        "passes": row.passes,
        "equal": row.equal,
        "lightning": asdict(row.lightning),
        "thunderhead": asdict(row.thunderhead),
    }


def from_json(found: dict[str, Any], client: Client) -> Row:
    """A row as it was kept."""
    sides = [
        Outcome(tuple(found[side]["passed"]), tuple(found[side]["failed"]), found[side]["seconds"])
        for side in ("lightning", "thunderhead")
    ]
    return Row(client, found["version"], *sides)
