"""How deep and how many-valued a job may be: told by path, before anything walks through it."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from thunderhead_api.extent import DEPTH_MAX, VALUES_MAX, excess
from thunderhead_api.validate import InvalidJob, parse_spec, validate

SHELL_DEPTH = 4  # job, spec, module, init_args


def nested(levels: int, leaf: Any = 1, *, maps: bool = False) -> Any:
    for _ in range(levels):
        leaf = {"a": leaf} if maps else [leaf]
    return leaf


def job(x: Any) -> dict[str, Any]:
    module = {"class_path": "m.M", "init_args": {"x": x}}
    return {
        "apiVersion": "thunderhead.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "deep"},
        "spec": {"module": module, "checkpoint": {"uri": "s3://bucket"}},
    }


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("levels", [1, DEPTH_MAX - SHELL_DEPTH, DEPTH_MAX - SHELL_DEPTH + 1, 250, 900, 100_000])
def test_a_job_is_refused_from_a_certain_depth_on(levels: int, maps: bool) -> None:
    found = validate(job(nested(levels, maps=maps)))
    if levels <= DEPTH_MAX - SHELL_DEPTH:
        assert found == []
        assert parse_spec(job(nested(levels, maps=maps))).module.init_args is not None
        return
    (problem,) = found
    assert problem.path.startswith("spec.module.init_args.x")
    assert str(problem).endswith(
        f"is nested more than {DEPTH_MAX} levels deep; put such data into a file, and its path here"
    )
    with pytest.raises(InvalidJob) as caught:
        parse_spec(job(nested(levels, maps=maps)))
    assert caught.value.excessive


def test_a_job_that_holds_itself_is_too_deep() -> None:
    mine: list[Any] = []
    mine.append(mine)
    assert [p.rule for p in validate(job(mine))] == [f"is nested more than {DEPTH_MAX} levels deep"]


@pytest.mark.parametrize(
    "many",
    [list(range(VALUES_MAX)), {str(n): {} for n in range(VALUES_MAX)}, [[0] * 200] * 150],
    ids=["list", "map", "lists"],
)
def test_too_many_values_are_refused(many: Any) -> None:
    (problem,) = validate(job(many))
    assert f"more than {VALUES_MAX} values" in problem.rule


def test_a_long_text_is_one_value() -> None:
    assert excess(job("x" * 1_000_000)) is None


def test_neither_stack_nor_time_depend_on_how_much_there_is() -> None:
    doubled: Any = [0]
    for _ in range(60):
        doubled = [doubled, doubled]  # 2**60 values, as aliases in YAML make them
    before = sys.getrecursionlimit()
    assert excess(doubled) is not None
    assert sys.getrecursionlimit() == before


def test_the_status_does_not_count() -> None:
    assert validate(job(1) | {"status": {"x": nested(5_000)}}) == []


def test_half_a_character_is_no_text() -> None:
    (problem,) = validate(job("a\ud800"))
    assert "half a character" in problem.rule
