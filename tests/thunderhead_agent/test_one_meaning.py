"""What a command line and a job both take means the same in both."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from jsonargparse import ArgumentError, ArgumentParser

from thunderhead.job.errors import InvalidConfiguration
from thunderhead_agent.build import build


class Inner:
    """A part."""

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Inner) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Outer:
    """Something of many kinds of arguments."""

    def __init__(
        self,
        rate: float = 0.5,
        many: int | None = None,
        flag: bool = False,
        name: str = "x",
        sizes: list[int] | None = None,
        pair: tuple[int, float] = (1, 2.0),
        table: dict[str, float] | None = None,
        inner: Inner | None = None,
        parts: list[Inner] | None = None,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})


INNER = {"class_path": f"{__name__}.Inner", "init_args": {"size": 3}}


def by_command_line(arguments: dict[str, Any]) -> Outer:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Outer, "made")
    described = {"class_path": f"{__name__}.Outer", "init_args": deepcopy(arguments)}
    found: Outer = parser.instantiate(parser.parse_object({"made": described})).made
    return found


def by_job(arguments: dict[str, Any]) -> Outer:
    found: Outer = build({"class_path": f"{__name__}.Outer", "init_args": arguments}, "spec.module")
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"rate": 0.25},
        {"rate": "1e-3"},
        {"rate": 1},
        {"many": 3},
        {"many": None},
        {"flag": True},
        {"name": "3"},
        {"sizes": [1, 2]},
        {"pair": [3, 4.5]},
        {"table": {"a": 1.5}},
        {"inner": INNER},
        {"inner": {"class_path": f"{__name__}.Inner"}},
        {"parts": [INNER, INNER]},
    ],
    ids=str,
)
def test_alike(arguments: dict[str, Any]) -> None:
    one, other = vars(by_command_line(arguments)), vars(by_job(arguments))
    assert one == other
    assert {name: type(value) for name, value in one.items()} == {name: type(value) for name, value in other.items()}


NEITHER: list[dict[str, Any]] = [
    {"rte": 1},
    {"rate": "fast"},
    {"many": 1.5},
    {"sizes": 3},
    {"inner": {"class_path": "no.where"}},
]


@pytest.mark.parametrize("arguments", NEITHER, ids=str)
def test_refused_by_both(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        by_command_line(arguments)
    with pytest.raises(InvalidConfiguration):
        by_job(arguments)
