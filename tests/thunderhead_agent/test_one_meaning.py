"""What a command line and a job both take means the same in both."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
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


class Norm(enum.Enum):
    """Named otherwise than its values."""

    batch = 1
    layer = 2


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
        norm: Norm = Norm.batch,
        perhaps: Norm | None = None,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})


class Wider(Outer):
    """Hands arguments on."""

    def __init__(self, factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor


class Sized(Inner):
    """Needs something that is given when it is made."""

    def __init__(self, parameters: list[int], scale: float = 1.0) -> None:
        super().__init__(len(parameters))
        self.scale = scale


class Making:
    """Makes a part later."""

    def __init__(self, make: Callable[[list[int]], Inner], table: Callable[..., Any] = dict) -> None:
        self.made, self.table = make([1, 2, 3]), table


INNER = {"class_path": f"{__name__}.Inner", "init_args": {"size": 3}}


def by_command_line(arguments: dict[str, Any], kind: type = Outer) -> Any:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, "made")
    described = {"class_path": f"{__name__}.{kind.__name__}", "init_args": deepcopy(arguments)}
    return parser.instantiate(parser.parse_object({"made": described})).made


def by_job(arguments: dict[str, Any], kind: type = Outer) -> Any:
    return build({"class_path": f"{__name__}.{kind.__name__}", "init_args": arguments}, "spec.module")


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
        {"norm": "layer"},
        {"perhaps": "layer"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [Outer, Wider])
def test_alike(arguments: dict[str, Any], kind: type) -> None:
    one, other = vars(by_command_line(arguments, kind)), vars(by_job(arguments, kind))
    assert one == other
    assert {name: type(value) for name, value in one.items()} == {name: type(value) for name, value in other.items()}


SIZED = {"class_path": f"{__name__}.Sized", "init_args": {"scale": "0.5"}}


@pytest.mark.parametrize("arguments", [{"make": SIZED}, {"make": SIZED, "table": "math.hypot"}], ids=str)
def test_what_is_called_later(arguments: dict[str, Any]) -> None:
    one, other = by_command_line(arguments, Making), by_job(arguments, Making)
    assert (vars(one.made), one.table) == (vars(other.made), other.table)
    assert vars(other.made) == {"size": 3, "scale": 0.5}
    assert other.table is (math.hypot if "table" in arguments else dict)


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


@pytest.mark.parametrize("arguments", NEITHER[1:], ids=str)
def test_refused_where_it_is_handed_on(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfiguration):
        by_job(arguments, Wider)
