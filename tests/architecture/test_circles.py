"""Rooms without circles of imports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from arch_circles import components

# The same in all: b is asked for types only, c inside a function, d needs nobody.
TYPES_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {package}.b import B\n"
FILES = {
    "a": TYPES_ONLY,
    "b": "class B:\n    def go(self):\n        from {package} import c\n        return c\n",
    "c": "import {package}.a\n",
    "d": "from {package} import a\n",
}

Write = Callable[[str, dict[str, str]], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a package and makes it known."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(package: str, files: dict[str, str]) -> str:
        (tmp_path / package).mkdir()
        for name, text in {"__init__": "", **files}.items():
            (tmp_path / package / f"{name}.py").write_text(text.format(package=package))
        return package

    return make


def test_imports_for_types_and_inside_functions_close_a_circle(write: Write) -> None:
    assert components(write("circular", FILES)) == [["circular.a", "circular.b", "circular.c"]]


@pytest.mark.parametrize("cut", ["a", "b", "c"])
def test_each_of_them_is_what_closes_it(cut: str, write: Write) -> None:
    assert components(write(f"without_{cut}", FILES | {cut: ""})) == []


PACKAGES = ["thunderhead_api", "thunderhead_operator", "thunderhead_agent", "thunderhead_client", "thunderhead_cli"]


@pytest.mark.parametrize("package", [*PACKAGES, "thunderhead.store", "thunderhead.job"])
def test_there_is_none_in(package: str) -> None:
    assert components(package) == []


def test_the_largest_is_the_public_names_that_know_each_other_by_contract() -> None:
    # Hooks are given the Trainer, and a module's trainer is one: what users derive from, and the Trainer itself.
    (circle,) = components("thunderhead")
    assert len(circle) <= 12
    assert {module.split(".")[1] for module in circle} == {"trainer", "user"}
