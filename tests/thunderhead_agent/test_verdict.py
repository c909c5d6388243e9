"""Whose fault it was, from what the nodes report in whatever order."""

from __future__ import annotations

import itertools

import pytest

from thunderhead_agent.verdict import (
    CAUSE,
    SYMPTOM,
    SYMPTOM_WINDOW_SECONDS,
    UNCLEAR,
    WINDOW_SECONDS,
    Tribunal,
    lost_agent,
    outcome_for,
)
from thunderhead_agent.wire import Failure, Verdict
from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import Outcome


def failed(rank: int, weight: int, outcome: Outcome = Outcome.FAILED, *, per_node: int = 2) -> Failure:
    return Failure(outcome=outcome, weight=weight, culprit=Culprit(rank=rank, node_rank=rank // per_node))


@pytest.mark.parametrize("order", list(itertools.permutations([(0, SYMPTOM), (1, UNCLEAR), (2, CAUSE), (3, SYMPTOM)])))
def test_a_cause_beats_its_symptoms_in_every_order(order: tuple[tuple[int, int], ...]) -> None:
    tribunal = Tribunal(nodes=2)
    for at, (rank, weight) in enumerate(order):
        tribunal.fail(failed(rank, weight), now=at / 10)
    verdict = tribunal.verdict(now=SYMPTOM_WINDOW_SECONDS)
    assert verdict is not None
    assert verdict.culprit is not None
    assert verdict.culprit.rank == 2


def test_of_two_causes_the_first_reported_stands() -> None:
    tribunal = Tribunal(nodes=2)
    tribunal.fail(failed(3, CAUSE), now=0.0)
    tribunal.fail(failed(0, CAUSE), now=0.1)
    verdict = tribunal.verdict(now=0.2)
    assert verdict is not None
    assert verdict.culprit == Culprit(rank=3, node_rank=1)


@pytest.mark.parametrize(
    ("reports", "due_after"),
    [
        pytest.param([(0, CAUSE)], WINDOW_SECONDS, id="a cause, while another node is silent"),
        pytest.param([(0, CAUSE), (2, SYMPTOM)], 0.0, id="a cause, all nodes heard"),
        pytest.param([(0, SYMPTOM)], SYMPTOM_WINDOW_SECONDS, id="a symptom alone"),
        pytest.param(
            [(0, SYMPTOM), (2, SYMPTOM)], SYMPTOM_WINDOW_SECONDS, id="symptoms everywhere: somebody else died"
        ),
        pytest.param([(0, UNCLEAR), (2, SYMPTOM)], SYMPTOM_WINDOW_SECONDS, id="an abort may be a symptom"),
    ],
)
def test_the_verdict_waits_as_long_as_it_could_change(reports: list[tuple[int, int]], due_after: float) -> None:
    tribunal = Tribunal(nodes=2)
    for rank, weight in reports:
        tribunal.fail(failed(rank, weight), now=100.0)
    if due_after:
        assert tribunal.verdict(now=100.0 + due_after - 0.01) is None
    assert tribunal.verdict(now=100.0 + due_after) is not None


def test_a_node_that_ended_well_counts_as_heard() -> None:
    tribunal = Tribunal(nodes=2)
    tribunal.finish(1, Outcome.DONE)
    tribunal.fail(failed(0, CAUSE), now=5.0)
    assert tribunal.verdict(now=5.0) is not None


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([Outcome.DONE, Outcome.DONE], Outcome.DONE),
        ([Outcome.STOPPED, Outcome.STOPPED], Outcome.STOPPED),
        ([Outcome.DONE, Outcome.STOPPED], Outcome.STOPPED),
    ],
)
def test_an_execution_has_ended_well_when_every_node_says_so(outcomes: list[Outcome], expected: Outcome) -> None:
    tribunal = Tribunal(nodes=2)
    tribunal.finish(0, outcomes[0])
    assert tribunal.verdict(now=1e9) is None
    tribunal.finish(1, outcomes[1])
    assert tribunal.verdict(now=1e9) == Verdict(outcome=expected)


@pytest.mark.parametrize(
    ("verdict", "node", "own", "expected"),
    [
        (Verdict(outcome=Outcome.DONE), 1, [Outcome.DONE], Outcome.DONE),
        (Verdict(outcome=Outcome.STOPPED), 1, [], Outcome.STOPPED),
        (Verdict(outcome=Outcome.FAILED, culprit=Culprit(rank=2, node_rank=1)), 1, [], Outcome.FAILED),
        (
            Verdict(outcome=Outcome.FAILED, culprit=Culprit(rank=2, node_rank=1)),
            0,
            [Outcome.FAILED],
            Outcome.PEER_FAILED,
        ),
        (
            Verdict(outcome=Outcome.INVALID_CONFIGURATION, culprit=Culprit(rank=0, node_rank=0)),
            1,
            [Outcome.INVALID_CONFIGURATION],
            Outcome.INVALID_CONFIGURATION,
        ),
        (Verdict(outcome=Outcome.SUPERSEDED, culprit=Culprit(rank=0, node_rank=0)), 1, [], Outcome.PEER_FAILED),
        (Verdict(outcome=Outcome.FAILED, culprit=lost_agent(0, "p", None, "x").culprit), 0, [], Outcome.PEER_FAILED),
    ],
)
def test_what_a_node_states_of_itself(verdict: Verdict, node: int, own: list[Outcome], expected: Outcome) -> None:
    assert outcome_for(verdict, node, own) is expected
