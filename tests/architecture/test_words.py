"""One meaning for each word: no two classes, and no two files, of one name in one package."""

from __future__ import annotations

import ast
import importlib
from collections import Counter
from pathlib import Path

import pytest

PACKAGES = ["thunderhead_api", "thunderhead_operator", "thunderhead_agent", "thunderhead_cli", "thunderhead"]
# Names that Lightning gave: a module's description and the callback that prints it; what Fabric has of its own.
PUBLIC_TWICE = {"ModelSummary", "CSVLogger", "ModelParallelStrategy", "TensorBoardLogger", "ThroughputMonitor"}


def sources(package: str) -> list[Path]:
    return sorted(Path(importlib.import_module(package).__path__[0]).rglob("*.py"))


def twice(names: list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_classes_have_one_name(package: str) -> None:
    trees = [ast.parse(path.read_text()) for path in sources(package)]
    found = twice([node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)])
    assert set(found) == (PUBLIC_TWICE if package == "thunderhead" else set())


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_files_have_one_name(package: str) -> None:
    assert twice([path.name for path in sources(package) if not path.name.startswith("__")]) == []
