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
class Sides:
    """The same on both sides."""

    lightning: Outcome
    thunderhead: Outcome


@dataclass(frozen=True, slots=True)
class Row:
    """One client, on both sides.

    Attributes:
        client: what was run.
        version: of its package.
        commit: of ours.
        documented: the outcomes of its documented use.
        tests: those of its own tests, where there are some.
    """

    client: Client
    version: str
    commit: str
    documented: Sides
    tests: Sides | None

    @property
    def passes(self) -> bool:
        """A script ends well on both sides, with results equal within rounding; tests that pass there pass here."""
        there, here = self.documented.lightning, self.documented.thunderhead
        ended = not there.failed and not here.failed and len(there.passed) == len(here.passed)
        return ended and self.distance <= _ROUNDING and not self.missing

    @property
    def missing(self) -> tuple[str, ...]:
        """Tests that pass with Lightning and not with us; one name where none passes there."""
        if self.tests is None:
            return ()
        there, here = self.tests.lightning.passed, self.tests.thunderhead.passed
        return tuple(sorted(set(there) - set(here))) if there else ("none passes with Lightning",)

    @property
    def equal(self) -> bool:
        """Every printed digit is the same."""
        return self.documented.lightning.passed == self.documented.thunderhead.passed

    @property
    def distance(self) -> float:
        """By how much numbers differ at most, relative to the larger; infinite where words do."""
        pairs = zip(self.documented.lightning.passed, self.documented.thunderhead.passed, strict=False)
        return max((_distance(there, here) for there, here in pairs), default=0.0)

    def cells(self) -> list[str]:
        """For the table."""
        return [self.client.name, self.version, self.client.what, self._documented(), self._tests(), self.client.note]

    def _documented(self) -> str:
        there, here = self.documented.lightning, self.documented.thunderhead
        of = f"{len(there.passed)} results"
        if there.failed or here.failed:
            return f"**fails**: {(*here.failed, *there.failed)[0]}"
        if len(there.passed) != len(here.passed) or self.distance > _ROUNDING:
            return f"**fails**: {of}, {len(here.passed)} with us, differing by {self.distance:.1g}"
        return f"{of}, {'equal to every digit' if self.equal else f'equal within {self.distance:.1g}'}"

    def _tests(self) -> str:
        if self.tests is None:
            return "-"
        there, here = self.tests.lightning, self.tests.thunderhead
        counts = [f"{len(side.passed)} pass, {len(side.failed)} fail" for side in (there, here)]
        found = f"{counts[0]} on both sides" if counts[0] == counts[1] else f"{counts[0]}; with us {counts[1]}"
        return found if not self.missing else f"{found}; **{len(self.missing)} with us alone**"


def _distance(there: str, here: str) -> float:
    if _NUMBER.sub("#", there) != _NUMBER.sub("#", here):
        return float("inf")
    numbers = zip(_NUMBER.findall(there), _NUMBER.findall(here), strict=True)
    return max((abs(float(a) - float(b)) / max(1e-3, abs(float(a))) for a, b in numbers), default=0.0)


def markdown(rows: list[Row], versions: str) -> str:
    """The page."""
    head = [
        "client",
        "version",
        "what is run",
        "documented use, with both",
        "its own tests, with Lightning and with us",
        "",
    ]
    commits = " and ".join(dict.fromkeys(row.commit for row in rows))
    lines = [
        "# Clients",
        "",
        f"{sum(row.passes for row in rows)} of {len(rows)} run as with Lightning "
        f"({versions}; Thunderhead at {commits or 'no commit'}).",
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
        "commit": row.commit,
        "what": row.client.what,
        "note": row.client.note,
        "passes": row.passes,
        "equal": row.equal,
        "documented": asdict(row.documented),
        "tests": asdict(row.tests) if row.tests is not None else None,
    }


def from_json(found: dict[str, Any], client: Client) -> Row:
    """A row as it was kept."""
    documented, tests = _sides(found["documented"]), found["tests"]
    return Row(client, found["version"], found["commit"], documented, _sides(tests) if tests else None)


def _sides(found: dict[str, Any]) -> Sides:
    there, here = (
        Outcome(tuple(found[side]["passed"]), tuple(found[side]["failed"]), found[side]["seconds"])
        for side in ("lightning", "thunderhead")
    )
    return Sides(there, here)
