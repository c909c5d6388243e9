"""What the comparison with Lightning lets pass: a difference with a reason, and no reason without a difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from bench.parity.cases import CASES
from bench.parity.explained import EVERYWHERE
from bench.parity.ranks import Ranks
from bench.parity.record import Record
from bench.parity.report import Outcome, compared, idle
from bench.parity.scenario import Case

OURS = Record(losses=[1.0, 2.0], hooks=["m.setup('fit')"], files=["a.ckpt"])
THEIRS = Record(losses=[1.0, 2.5], hooks=["m.setup('fit')"], files=["a.ckpt"])


@pytest.mark.parametrize(
    ("explained", "unexplained", "stale", "says"),
    [
        ({}, ["losses/1"], [], "1 UNEXPLAINED"),
        ({"losses/1": "meant"}, [], [], "same, 1 explained"),
        ({"losses/*": "meant", "files/*": "once meant"}, [], ["files/*"], "STALE EXPLANATION of files/*"),
        ({"losses/*": "meant", "losses/1": "meant twice"}, [], ["losses/1"], "STALE EXPLANATION of losses/1"),
        ({"losses/0": "not there"}, ["losses/1"], ["losses/0"], "1 UNEXPLAINED, STALE EXPLANATION of losses/0"),
    ],
)
def test_a_case_is_good_where_differences_and_reasons_meet(
    explained: Mapping[str, str], unexplained: list[str], stale: list[str], says: str
) -> None:
    outcome = compared(Case(name="a case", explained=explained), [OURS], [THEIRS])
    assert [difference.path for difference in outcome.unexplained] == unexplained
    assert outcome.stale == stale
    assert outcome.good is (not unexplained and not stale)
    assert says in outcome.line()


def test_equal_records_make_any_reason_stale() -> None:
    outcome = compared(Case(name="a case", explained={"losses/*": "meant"}), [OURS], [OURS])
    assert outcome.stale == ["losses/*"]
    assert not outcome.good


def test_a_reason_for_all_cases_is_idle_where_no_case_needs_it() -> None:
    first, *others = EVERYWHERE
    assert idle([Outcome("a case", patterns={first})]) == others
    assert idle([Outcome("one", patterns={first}), Outcome("another", patterns=set(others))]) == []


def test_a_reason_of_a_case_does_not_count_for_all() -> None:
    ours, theirs = Record(checkpoints={"a.ckpt": {"thunderhead": 1}}), Record(checkpoints={"a.ckpt": {}})
    outcome = compared(Case(name="a case", explained={"checkpoints/*": "too wide"}), [ours], [theirs])
    assert outcome.patterns == {next(iter(EVERYWHERE))}
    assert outcome.stale == ["checkpoints/*"]


@pytest.mark.parametrize("case", [case for case in CASES if case.explained], ids=lambda case: case.name)
def test_no_explanation_covers_all_that_is_compared(case: Case) -> None:
    parts = [part.name for part in dataclasses.fields(Record)]
    for pattern in case.explained:
        covered = [part for part in parts if fnmatchcase(f"{part}/0/x", pattern)]
        assert len(covered) <= 1, f"{pattern} covers {covered}"


def test_a_rank_that_dies_is_an_error(tmp_path: Path) -> None:
    with Ranks() as ranks:
        (record,) = ranks.run("no such case", "thunderhead", tmp_path / "run", 1)
    assert record.error == "EOFError: the process died"


def test_what_differs_on_one_rank_alone_is_found() -> None:
    outcome = compared(Case(name="a case", ranks=2), [OURS, OURS], [OURS, THEIRS])
    assert [(difference.rank, difference.path) for difference in outcome.unexplained] == [(1, "losses/1")]
