"""A class that we lack can be imported, named in annotations and derived from; whoever calls it is told instead."""

from __future__ import annotations

import abc
import inspect
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from torch import nn

import thunderhead as th
from thunderhead import compat
from thunderhead.compat.lacking import lacking


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    compat.install()
    yield
    compat.uninstall()


Absent: Any = lacking("lightning.pytorch.strategies.FSDPStrategy", "shard otherwise")
Other: Any = lacking("lightning.pytorch.loggers.CometLogger", "use another")


def test_packages_that_derive_from_it_can_be_imported() -> None:
    class Theirs(Absent):  # type: ignore[misc]
        name = "theirs"

        def __init__(self, port: int = 1) -> None:
            super().__init__()

        @property
        def kwargs(self) -> dict[str, Any]:
            return {}

    class Deeper(Theirs): ...

    assert Theirs.name == "theirs"
    assert issubclass(Deeper, Theirs)
    assert issubclass(Deeper, Absent)
    assert not issubclass(Absent, Deeper)
    assert not isinstance(object(), Deeper)
    assert inspect.isclass(Deeper)
    with pytest.raises(
        ImportError,
        match=r"Deeper derives from lightning.pytorch.strategies.FSDPStrategy, and lightning.+ is not avail",
    ):
        Deeper()
    with pytest.raises(th.MisconfigurationException, match="shard otherwise"):
        Theirs(port=2)


@pytest.mark.parametrize("beside", [abc.ABC, th.Callback, nn.Module, dict, typing.Generic[typing.TypeVar("T")], Other])  # type: ignore[index]
def test_beside_other_bases(beside: Any) -> None:
    made = type(abc.ABC)("Both", (Absent, beside), {}) if beside is abc.ABC else None

    if made is None:
        import types

        made = types.new_class("Both", (Absent, beside))
    with pytest.raises(ImportError, match=r"Both derives from lightning.pytorch.strategies.FSDPStrategy"):
        made()


def test_it_is_refused_as_what_python_refuses_there() -> None:
    with pytest.raises(ImportError, match=r"FSDPStrategy is not available in Thunderhead: shard otherwise$"):
        Absent(1, two=2)
    assert not hasattr(Absent, "strategy_name")
    with pytest.raises(th.MisconfigurationException, match="shard otherwise"):
        Absent.strategy_name  # noqa: B018 - looking is what is refused
    assert typing.get_type_hints(annotated)["value"] == Absent | Other | None


def annotated(value: Absent | Other | None = None) -> None: ...


def test_a_package_s_guard_around_its_import_holds() -> None:
    from lightning.pytorch.strategies import DeepSpeedStrategy

    def imported() -> bool:
        try:
            DeepSpeedStrategy()
        except ImportError:
            return False
        return True

    assert not imported()
