"""A benchmark's result: rows with medians and spread, as Markdown and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured side or figure.

    Attributes:
        what: its name.
        value: the median, in the result's unit.
        low, high: first and third quartile.
        samples: number of measurements.
        at_most, at_least: what we want to reach; None where nothing is asked.
    """

    what: str
    value: float
    low: float
    high: float
    samples: int
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median reaches what is asked; None where nothing is."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one benchmark found.

    Attributes:
        name: as on the command line.
        title: what is measured, with its unit.
        how: in a sentence or two.
        rows: in the order of the table; empty where it could not run.
        notes: what a reader must know besides, such as why it did not run.
    """

    name: str
    title: str
    how: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


def row(
    what: str, values: Sequence[float], *, at_most: float | None = None, at_least: float | None = None, digits: int = 2
) -> Row:
    """Median and quartiles of ``values``, rounded."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    median = statistics.median(values)
    return Row(
        what=what,
        value=round(median, digits),
        low=round(low, digits),
        high=round(high, digits),
        samples=len(values),
        at_most=at_most,
        at_least=at_least,
    )


def as_json(result: Result) -> dict[str, object]:
    """Plain data, with whether each figure is met."""
    rows = []
    for found in result.rows:
        names = ("what", "value", "low", "high", "samples", "at_most", "at_least", "met")
        rows.append({name: getattr(found, name) for name in names})
    return {"name": result.name, "title": result.title, "how": result.how, "rows": rows, "notes": result.notes}


def markdown(results: Sequence[Result]) -> str:
    """One table per result."""
    lines: list[str] = []
    for result in results:
        lines += [f"### {result.title}", "", result.how, ""]
        if result.rows:
            lines += ["| | median | quartiles | n | asked | |", "|---|---:|---:|---:|---:|---|"]
            lines += [_line(found) for found in result.rows]
            lines.append("")
        for note in result.notes:
            lines += [note, ""]
    return "\n".join(lines)


def _line(found: Row) -> str:
    asked = ""
    if found.at_most is not None:
        asked = f"≤ {found.at_most:g}"
    elif found.at_least is not None:
        asked = f"≥ {found.at_least:g}"
    verdict = {True: "met", False: "**missed**", None: ""}[found.met]
    spread = f"{found.low:g} … {found.high:g}"
    return f"| {found.what} | {found.value:g} | {spread} | {found.samples} | {asked} | {verdict} |"
