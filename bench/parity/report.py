"""What came out: case by case, and the reasons of what differs on purpose."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.parity.compare import Difference, differences
from bench.parity.explained import EVERYWHERE
from bench.parity.ranks import Ranks
from bench.parity.record import Record
from bench.parity.scenario import SIDES, Case, collect_files, run


@dataclass
class Outcome:
    """How one case came out.

    Attributes:
        name: of the case.
        compared: values that were compared, by part of the record.
        unexplained: differences that nobody meant.
        reasons: how many differences each reason explains.
        patterns: those that explained a difference, of the case or of ``EVERYWHERE``.
        stale: patterns of the case that explain nothing; they would hide what comes later.
        rounding: the largest relative error among values that count as the same.
        error: type of the exception that ended both sides' runs.
    """

    name: str
    compared: dict[str, int] = field(default_factory=dict)
    unexplained: list[Difference] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    patterns: set[str] = field(default_factory=set)
    stale: list[str] = field(default_factory=list)
    rounding: float = 0.0
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether every difference has a reason, and every reason a difference."""
        return not self.unexplained and not self.stale

    def line(self) -> str:
        """The outcome in a line."""
        verdict = f"{len(self.unexplained)} UNEXPLAINED" if self.unexplained else "same"
        verdict += f", STALE EXPLANATION of {' and '.join(self.stale)}" if self.stale else ""
        more = f", {sum(self.reasons.values())} explained" if self.reasons else ""
        return f"{self.name}: {verdict}{more}{f', both raise {self.error}' if self.error else ''}"


def judge(case: Case, folder: Path, ranks: Ranks) -> Outcome:
    """Run both sides of a case and sort what differs."""
    ours, theirs = (_records(case, side, folder / side, ranks) for side in SIDES)
    return compared(case, ours, theirs)


def _records(case: Case, side: str, root: Path, ranks: Ranks) -> list[Record]:
    if case.ranks == 1:
        return [run(case, side, root)]
    records = ranks.run(case.name, side, root, case.ranks)
    # By now every rank is done; one that looked for itself might see the files of another half written.
    collect_files(records[0], root)
    return records


def compared(case: Case, ours: Sequence[Record], theirs: Sequence[Record]) -> Outcome:
    """What differs between two sides' records of a case, rank by rank, sorted by reason."""
    outcome = Outcome(case.name, error=_shared(ours[0].error, theirs[0].error))
    reasons = {**EVERYWHERE, **case.explained}
    for rank, (mine, its) in enumerate(zip(ours, theirs, strict=True)):
        found, rounding = differences(mine, its)
        outcome.rounding = max(outcome.rounding, rounding)
        for name, value in vars(its).items():
            outcome.compared[name] = outcome.compared.get(name, 0) + _count(value)
        for difference in found:
            pattern = explanation(difference, reasons)
            if pattern is None:
                outcome.unexplained.append(replace(difference, rank=rank))
            else:
                outcome.reasons[reasons[pattern]] += 1
                outcome.patterns.add(pattern)
    outcome.stale = [pattern for pattern in case.explained if pattern not in outcome.patterns]
    return outcome


def idle(outcomes: list[Outcome]) -> list[str]:
    """Patterns of ``EVERYWHERE`` that no case of a whole run needed."""
    return [pattern for pattern in EVERYWHERE if not any(pattern in outcome.patterns for outcome in outcomes)]


def _shared(ours: str, theirs: str) -> str:
    """The type of the exception that both raised."""
    kinds = {text.partition(":")[0] for text in (ours, theirs)}
    return kinds.pop() if len(kinds) == 1 else ""


def explanation(difference: Difference, reasons: Mapping[str, str]) -> str | None:
    """The first pattern that says why this difference is meant, if one does."""
    return next((pattern for pattern in reasons if fnmatchcase(difference.path, pattern)), None)


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_count(item) for item in value.values())
    return sum(_count(item) for item in value) if isinstance(value, list) else 1


def write(outcomes: list[Outcome], folder: Path) -> None:
    """Table and JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "torch": torch.__version__, "lightning": version("lightning")}
    rows = [
        {
            "case": outcome.name,
            "compared": outcome.compared,
            "unexplained": [f"{d.rank}: {d.path}: {d.ours!r:.200} | {d.theirs!r:.200}" for d in outcome.unexplained],
            "explained": dict(outcome.reasons),
            "largest_rounding": outcome.rounding,
            "raises": outcome.error,
        }
        for outcome in outcomes
    ]
    (folder / "parity.json").write_text(json.dumps({"machine": machine, "cases": rows}, indent=1) + "\n")
    (folder / "parity.md").write_text(table(outcomes))


def table(outcomes: list[Outcome]) -> str:
    """The results as Markdown."""
    reasons = sorted({reason for outcome in outcomes for reason in outcome.reasons})
    numbers = {reason: number for number, reason in enumerate(reasons, start=1)}
    lines = ["| case | hooks | losses | metrics | other values | unexplained | explained by | largest rounding |"]
    lines.append("|---|---:|---:|---:|---:|---:|---|---:|")
    for outcome in outcomes:
        counts = outcome.compared
        rest = sum(counts.values()) - counts["hooks"] - counts["losses"] - counts["metrics"]
        why = ", ".join(str(numbers[reason]) for reason in sorted(outcome.reasons, key=numbers.__getitem__))
        lines.append(
            f"| {outcome.name}{f' (both raise {outcome.error})' if outcome.error else ''} | {counts['hooks']} | "
            f"{counts['losses']} | {counts['metrics']} | {rest} | {len(outcome.unexplained)} | {why} | "
            f"{outcome.rounding:.1e} |"
        )
    lines += ["", "Explained differences:", ""]
    lines += [f"{number}. {reason}" for reason, number in numbers.items()]
    return "\n".join(lines) + "\n"
