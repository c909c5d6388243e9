"""In which epoch loaders count as asked for, also by a run that goes on."""

from __future__ import annotations

import pytest

from thunderhead.run.reloading import LoadedIn


@pytest.mark.parametrize(
    ("every", "resumed_in", "asked_for", "stale_in"),
    [
        (0, 3, 0, None),  # never again: those of the first epoch, whenever a run goes on
        (2, 1, 0, 2),
        (2, 2, 2, 4),
        (3, 4, 4, 7),
    ],
)
def test_a_resumed_run_has_the_loaders_of_the_one_before(
    every: int, resumed_in: int, asked_for: int, stale_in: int | None
) -> None:
    before = LoadedIn(every)
    assert before.next_load("train", 0) == 0
    resumed = LoadedIn(every)
    resumed.resume(before.state_dict())
    assert resumed.next_load("train", resumed_in) == asked_for
    stale = [epoch for epoch in range(resumed_in, 9) if resumed.is_stale("train", epoch)]
    assert (stale[0] if stale else None) == stale_in


def test_the_record_is_the_same_in_whichever_order_they_were_asked_for() -> None:
    one, other = LoadedIn(0), LoadedIn(0)
    for kind in ("train", "val"):
        one.next_load(kind, 0)
    for kind in ("val", "train"):
        other.next_load(kind, 0)
    assert list(one.state_dict().items()) == list(other.state_dict().items())
