"""Types are said: few annotations are plain ``Any``, and the Trainer's constructor can be read by a program."""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

import thunderhead
from thunderhead import Trainer

ROOT = Path(thunderhead.__file__).parent
# What stays: hooks that users override with types of their own, values of theirs, arguments handed on to others' code.
MOST_PLAIN = 0.025


def annotations(source: str) -> Iterator[ast.expr]:
    """Those of arguments, results and variables."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found = node.args
            several = [found.vararg, found.kwarg]
            arguments = [*found.posonlyargs, *found.args, *found.kwonlyargs, *(each for each in several if each)]
            yield from (each.annotation for each in arguments if each.annotation is not None)
            if node.returns is not None:
                yield node.returns
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation


def is_plain(annotation: ast.expr) -> bool:
    """``Any`` and nothing around it."""
    return isinstance(annotation, ast.Name) and annotation.id == "Any"


@pytest.mark.parametrize(
    ("source", "plain", "all_of_them"),
    [
        ("def f(a: Any, b: int) -> Any: ...", 2, 3),
        ("async def f(*a: Any, k: list[Any], **b: Any) -> None: ...", 2, 4),
        ("a: Any = 1", 1, 1),
        ("def f(a, /, b=None): ...", 0, 0),
        ("a: dict[str, Any] = {}", 0, 1),
    ],
)
def test_what_is_counted(source: str, plain: int, all_of_them: int) -> None:
    found = list(annotations(source))
    assert (sum(map(is_plain, found)), len(found)) == (plain, all_of_them)


def test_few_annotations_are_plain_any() -> None:
    found = [each for path in ROOT.rglob("*.py") for each in annotations(path.read_text())]
    assert len(found) > 5000
    share = sum(map(is_plain, found)) / len(found)
    assert share < MOST_PLAIN, f"{share:.2%} of {len(found)} annotations are plain Any"


def test_no_other_name_stands_for_any() -> None:
    hidden = {
        node.targets[0].id
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign) and is_plain(node.value) and isinstance(node.targets[0], ast.Name)
    }
    assert hidden <= {"Tree"}  # plain data, nested: what a job's state is


def members(hint: Any) -> list[Any]:
    """What a union is made of, or the type itself."""
    return list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]


def test_the_constructor_says_the_type_of_each_argument() -> None:
    hints = get_type_hints(Trainer.__init__)
    names = [name for name in inspect.signature(Trainer.__init__).parameters if name != "self"]
    assert len(names) > 35
    found = {name: members(hints[name]) for name in names}
    assert [name for name, several in found.items() if Any in several or object in several] == []


@pytest.mark.parametrize("name", list(inspect.signature(Trainer.__init__).parameters)[1:])
def test_a_default_is_of_the_argument_s_type(name: str) -> None:
    default = inspect.signature(Trainer.__init__).parameters[name].default
    kinds = [get_origin(member) or member for member in members(get_type_hints(Trainer.__init__)[name])]
    assert isinstance(default, tuple(kinds))


def read(text: str, kinds: list[Any]) -> Any:
    """What a word of a command line means, by the types of its argument alone."""
    for kind, words in ((bool, {"true": True, "false": False}), (types.NoneType, {"none": None})):
        if kind in kinds and text.lower() in words:
            return words[text.lower()]
    for kind in (int, float, str):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(text)
    raise ValueError(text)


def test_a_command_line_is_built_from_the_signature() -> None:
    hints = get_type_hints(Trainer.__init__)
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    for name in list(inspect.signature(Trainer.__init__).parameters)[1:]:
        parser.add_argument(f"--{name}", type=functools.partial(read, kinds=members(hints[name])))
    line = "--accelerator cpu --devices 1 --max_epochs 3 --limit_train_batches 0.5 --logger false --max_time 0:1:0:0"
    given = vars(parser.parse_args(line.split()))
    assert given["logger"] is False
    trainer = Trainer(**given)
    assert (trainer.max_epochs, trainer.limit_train_batches, trainer.loggers) == (3, 0.5, [])
