"""Nobody but the trainer's own room, and what users derive from, reads what is private to a Trainer."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import thunderhead
from thunderhead.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, Timer
from thunderhead.callbacks.checkpoint_names import CheckpointNames

ROOT = Path(thunderhead.__file__).parent
INSIDE = ("trainer", "user")
BUILT_IN = [EarlyStopping, Timer, LearningRateMonitor, ModelCheckpoint, CheckpointNames]


def touches(source: str) -> Iterator[str]:
    """Reads of private names of a trainer, under whatever name it is held."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name.lstrip("_") in ("trainer", "t", "caller"):
                yield f"{name}.{node.attr}, line {node.lineno}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("trainer._fn", 1),
        ("self._trainer._hooks.call()", 1),
        ("self.trainer.global_step", 0),
        ("t._position.step", 1),
        ("self._trainer", 0),
        ("run.caller._sink", 1),
    ],
)
def test_a_touch_is_seen(source: str, found: int) -> None:
    assert len(list(touches(source))) == found


def test_no_file_outside_touches_what_is_private() -> None:
    sources = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in INSIDE]
    assert len(sources) > 100
    assert {str(path): found for path in sources if (found := list(touches(path.read_text())))} == {}


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.__name__)
def test_built_in_callbacks_use_public_doors_only(kind: type) -> None:
    assert list(touches(Path(inspect.getfile(kind)).read_text())) == []
