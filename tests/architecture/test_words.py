"""One meaning for each word: no two classes, and no two files, of one name in one package."""

from __future__ import annotations

import ast
import importlib
from collections import Counter
from pathlib import Path

import pytest

PACKAGES = [
    "thunderhead_api",
    "thunderhead_operator",
    "thunderhead_agent",
    "thunderhead_client",
    "thunderhead_cli",
    "thunderhead",
]
# Names that Lightning gave: the description of a module, and the callback that prints it.
PUBLIC_TWICE = ["ModelSummary"]


def sources(package: str) -> list[Path]:
    return sorted(Path(importlib.import_module(package).__path__[0]).rglob("*.py"))


def twice(names: list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_classes_have_one_name(package: str) -> None:
    trees = [ast.parse(path.read_text()) for path in sources(package)]
    assert twice([node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]) in (
        [],
        PUBLIC_TWICE,
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_files_have_one_name(package: str) -> None:
    assert twice([path.name for path in sources(package) if not path.name.startswith("__")]) == []
