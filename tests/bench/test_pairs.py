"""The stopwatch: what it counts as the framework's time, and what as the raw loop's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.pairs import PairedBatches
from bench.report import Result, as_json, markdown, row


class Hand:
    """A clock that work moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def test_pairs_tell_both_loops_apart() -> None:
    clock = Hand()
    trained = 0

    def raw(items: Sequence[int]) -> None:
        clock.now += 2 * len(items)

    loader = PairedBatches([1, 2], raw, steps=4, pairs=5, warm_up=3, clock=clock)
    for _ in loader:
        clock.now += 3
        trained += 1
    assert trained == len(loader) == 3 + 4 * 5 + 1
    assert loader.measured.raw == [2] * 5
    assert loader.measured.framework == [3] * 5
    assert loader.measured.ratios() == [1.5] * 5
    assert loader.measured.added_us() == pytest.approx([1e6] * 5)


@pytest.mark.parametrize(
    ("limits", "met", "word"),
    [
        ({"at_most": 3.0}, True, "met"),
        ({"at_most": 2.5}, False, "**missed**"),
        ({"at_least": 3.0}, True, "met"),
        ({"at_least": 4.0}, False, "**missed**"),
        ({}, None, "|  |"),
    ],
)
def test_a_missed_figure_is_called_missed(limits: dict[str, float], met: bool | None, word: str) -> None:
    found = row("ours", [1.0, 3.0, 9.0], **limits)  # type: ignore[arg-type]
    assert (found.value, found.low, found.high, found.samples) == (3.0, 2.0, 6.0, 3)
    result = Result(name="n", title="t", how="h", rows=[found])
    assert as_json(result)["rows"] == [{**limits_of(found), "met": met}]
    assert word in markdown([result])


def limits_of(found: object) -> dict[str, object]:
    """The other columns."""
    names = ("what", "value", "low", "high", "samples", "at_most", "at_least")
    return {name: getattr(found, name) for name in names}
