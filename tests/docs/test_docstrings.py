"""Every public name says what it is, and its docstring has the arguments that its signature has."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import thunderhead as th
import thunderhead.compat


def public() -> dict[str, Any]:
    """Classes and functions by where they are found."""
    found: dict[str, Any] = {}
    for where, module in (
        ("th", th),
        ("th.callbacks", th.callbacks),
        ("th.loggers", th.loggers),
        ("th.strategies", th.strategies),
    ):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                found[f"{where}.{name}"] = value
    found["th.compat.install"] = thunderhead.compat.install
    return found


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """What a class of ours adds under public names, its bases in this project included."""
    for base in cls.__mro__:
        if not base.__module__.startswith("thunderhead"):
            continue
        for name, value in vars(base).items():
            inner = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
            if not name.startswith("_") and (inspect.isfunction(inner) or isinstance(inner, property)):
                yield f"{base.__qualname__}.{name}", inner


def documented(text: str, section: str) -> list[str] | None:
    """Names in a section of a docstring, stars included; None where it has no such section."""
    match = re.search(rf"^( *){section}:\n((?:\1 +.*\n|\s*\n)+)", text + "\n", re.M)
    if match is None:
        return None
    lines = match[2].splitlines()
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return re.findall(rf"^ {{{indent}}}(\**\w+):", match[2], re.M)


def arguments(function: Any) -> list[str]:
    """Arguments of a signature, with their stars, without self."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    parameters = inspect.signature(function).parameters.values()
    return [stars.get(p.kind, "") + p.name for p in parameters if p.name not in ("self", "cls")]


NAMES = public()
METHODS = {name: value for cls in NAMES.values() if inspect.isclass(cls) for name, value in members(cls)}


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    value = NAMES[name]
    assert value.__doc__, f"{name} has no docstring"
    assert re.match(r"\S.*[.:]$", value.__doc__.splitlines()[0]), f"{name}: a sentence comes first"
    if inspect.isclass(value) and (init := own_init(value)) is not None:
        wanted = arguments(init)
        section = "Attributes" if dataclasses.is_dataclass(value) else "Args"
        owner = next(base for base in value.__mro__ if "__init__" in vars(base))
        said = documented(inspect.getdoc(value) or "", section) or documented(inspect.getdoc(owner) or "", section)
        assert (said or []) == wanted, f"{name} documents {said}, but takes {wanted}"
    if inspect.isfunction(value):
        check(name, value)


def own_init(cls: type) -> Any:
    """The constructor, if it is of this project and not one that passes everything on."""
    init = cls.__init__  # type: ignore[misc]
    named = inspect.isfunction(init) and init.__module__.startswith("thunderhead")
    return init if named and arguments(init) != ["*args", "**kwargs"] else None


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str) -> None:
    value = METHODS[name]
    assert inspect.getdoc(value), f"{name} has no docstring, nor has what it overrides"
    if not isinstance(value, property):
        check(name, value)


def check(name: str, function: Any) -> None:
    """Arguments that are listed are those there are."""
    said = documented(inspect.getdoc(function) or "", "Args")
    assert said is None or said == arguments(function), f"{name} documents {said}, but takes {arguments(function)}"


def test_errors_that_are_raised_are_named() -> None:
    """What a public function itself raises stands under Raises, by the class or one above it."""
    missing = []
    for name, value in {**NAMES, **METHODS}.items():
        function = value.fget if isinstance(value, property) else value
        if not inspect.isfunction(function):
            continue
        raised = set(re.findall(r"^ +raise (\w+)\(", inspect.getsource(function), re.M))
        text = inspect.getdoc(function) or ""
        missing += [f"{name}: {error}" for error in sorted(raised) if error[0].isupper() and error not in text]
    assert missing == []
