"""What the scenarios measured: collected while they run, printed as one table at the end, kept as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

REPORT = Path(__file__).resolve().parents[2] / "build" / "reports" / "e2e-figures.json"


@dataclass(frozen=True)
class Figure:
    """One measurement. `asked` is the bound that the product promises, None where it promises none."""

    scenario: str
    what: str
    measured: float | str
    unit: str = ""
    asked: float | None = None

    @property
    def is_met(self) -> bool:
        return self.asked is None or (not isinstance(self.measured, str) and self.measured <= self.asked)


class Figures:
    """The measurements of one test session."""

    def __init__(self) -> None:
        self.all: list[Figure] = []

    def note(
        self, scenario: str, what: str, measured: float | str, unit: str = "", *, asked: float | None = None
    ) -> Figure:
        """Keeps and prints a figure, and hands it back to be asserted on."""
        value = round(measured, 3) if isinstance(measured, float) else measured
        figure = Figure(scenario, what, value, unit, asked)
        self.all.append(figure)
        print(" | ".join(_row(figure)))
        return figure

    def table(self) -> str:
        """All of them as a Markdown table."""
        rows = [("scenario", "what", "measured", "asked"), ("---",) * 4, *(_row(figure) for figure in self.all)]
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)

    def save(self, path: Path = REPORT) -> None:
        """As JSON, and as the table beside it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(figure) for figure in self.all], indent=1) + "\n")
        path.with_suffix(".md").write_text(self.table() + "\n")


def _row(figure: Figure) -> tuple[str, str, str, str]:
    asked = "" if figure.asked is None else f"≤ {figure.asked:g} {figure.unit}".strip()
    met = "" if figure.is_met else " (missed)"
    return (figure.scenario, figure.what, f"{figure.measured} {figure.unit}".strip() + met, asked)
