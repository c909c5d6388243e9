"""Which commits count, as tables."""

from __future__ import annotations

import pytest

from thunderhead.store.executions import (
    Commit,
    Execution,
    base_key,
    claim_key,
    execution_of_key,
    shard_folder,
    shard_of_key,
)
from thunderhead.store.lineage import Lineage, Listing, Segment, newer_than
from thunderhead.store.objects import Corrupt


def commit(text: str) -> Commit:
    """``"2.1@40"`` is attempt 2, round 1, step 40; the round may be left out."""
    execution, _, step = text.partition("@")
    attempt, _, round_ = execution.partition(".")
    return Commit(Execution(int(attempt), int(round_ or 0)), int(step))


def lineage(*segments: str) -> Lineage:
    """``"3"`` is all of attempt 3, ``"1@20"`` attempt 1 up to step 20."""
    return Lineage(
        tuple(
            Segment(commit(text).execution, commit(text).step)
            if "@" in text
            else Segment(commit(f"{text}@0").execution)
            for text in segments
        )
    )


@pytest.mark.parametrize(
    ("segments", "commits", "counting"),
    [
        ("", "1@10", ""),
        ("1", "", ""),
        ("1", "1@10 1@20", "1@20 1@10"),
        ("2 1@20", "1@10 1@20 1@30", "1@20 1@10"),
        ("2 1@20", "1@20 2@25 1@30 2@30", "2@30 2@25 1@20"),
        ("3 1@20", "1@10 1@20 1@30 2@30 2@40", "1@20 1@10"),
        ("3 2@40 1@20", "1@20 1@30 2@30 2@40 2@50 3@60", "3@60 2@40 2@30 1@20"),
        ("3", "1@10 2@20 3@5", "3@5"),
        ("2.1 2.0@30 1@10", "2.0@30 2.0@40 2.1@35 1@10", "2.1@35 2.0@30 1@10"),
        ("2 1@20", "3@100", ""),
    ],
)
def test_counting(segments: str, commits: str, counting: str) -> None:
    found = lineage(*segments.split()).counting(commit(text) for text in commits.split())
    assert found == [commit(text) for text in counting.split()]


@pytest.mark.parametrize(
    ("segments", "base", "ending"),
    [
        ("2 1@20", "2@30", "2@30 1@20"),
        ("2 1@20", "1@20", "1@20"),
        ("2 1@20", "1@10", "1@10"),
        ("3 2@40 1@20", "2@30", "2@30 1@20"),
    ],
)
def test_a_base_ends_the_lineage_it_is_on(segments: str, base: str, ending: str) -> None:
    assert lineage(*segments.split()).ending_at(commit(base)) == lineage(*ending.split())


def test_a_base_off_the_lineage_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        lineage("2", "1@20").ending_at(commit("1@30"))


def test_a_lineage_comes_back_from_json() -> None:
    value = Lineage(lineage("3", "1@20").segments, "s3://bucket/steps/1/1-0.json")
    assert Lineage.from_json(value.to_json()) == value


@pytest.mark.parametrize("value", [{}, {"segments": [{}], "origin": None}, {"segments": 3, "origin": None}])
def test_a_lineage_that_is_none_is_corrupt(value: dict[str, object]) -> None:
    with pytest.raises(Corrupt):
        Lineage.from_json(value)


@pytest.mark.parametrize(
    ("execution", "claims", "newer"),
    [
        ("1", "", None),
        ("1", "1", None),
        ("2", "1", None),
        ("1", "2 3", "3"),
        ("2.1", "2.0 2.1", None),
        ("2", "2.1", "2.1"),
    ],
)
def test_newer_claims(execution: str, claims: str, newer: str | None) -> None:
    def parse(text: str) -> Execution:
        return commit(f"{text}@0").execution

    assert newer_than(parse(execution), map(parse, claims.split())) == (parse(newer) if newer else None)


def test_executions_that_may_tell_a_lineage_are_those_with_a_base_or_a_commit() -> None:
    listing = Listing(
        claims=frozenset(map(Execution, (1, 2, 3, 4))),
        bases=frozenset(map(Execution, (1, 3))),
        commits=frozenset({commit("2@5"), commit("1@5"), commit("1@7")}),
    )
    assert listing.newest_first() == [Execution(3), Execution(2), Execution(1)]
    assert listing.commits_of(Execution(1)) == [commit("1@7"), commit("1@5")]


def test_keys_order_as_time_does_and_come_back() -> None:
    executions = [Execution(1), Execution(1, 1), Execution(2), Execution(10), Execution(10, 3)]
    assert sorted(claim_key(execution) for execution in executions) == [
        claim_key(execution) for execution in executions
    ]
    for execution in (*executions, Execution(10**8, 10**6)):
        assert execution_of_key(claim_key(execution)) == (execution, "claim")
        assert execution_of_key(base_key(execution)) == (execution, "base")
        assert Commit.of_key(Commit(execution, 10**14).key) == Commit(execution, 10**14)
        assert shard_of_key(f"{shard_folder(execution, 7)}n-00000-local.safetensors") == Commit(execution, 7)


@pytest.mark.parametrize("key", ["steps/1/x.json", "steps/1/1-0.json.tmp", "epochs/1-0/claimed", "epochs/1/claim", "x"])
def test_other_keys_are_not_ours(key: str) -> None:
    assert Commit.of_key(key) is None
    assert execution_of_key(key) is None
    assert shard_of_key(key) is None
