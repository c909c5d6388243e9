"""What a script uses of Lightning that is not here, found by reading it: nothing of it is run or imported.

::

    $ python -m thunderhead.compat --check train.py
    train.py:7: lightning.pytorch.loggers.CometLogger: use TensorBoardLogger or CSVLogger, or derive one from Logger
    models/net.py:2: lightning.pytorch.loops.fetchers: a module of Lightning's inside that has no counterpart

Read are the script, and of the modules that it imports those that lie beside it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thunderhead.compat import internal_names, names
from thunderhead.compat.internal_names import INTERNALS
from thunderhead.exceptions import did_you_mean

_GUARDS: Final = ("ImportError", "ModuleNotFoundError", "Exception", "AttributeError")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One name that is not here.

    Attributes:
        path: file in which it is used.
        line: where.
        name: as Lightning has it.
        remedy: what to use instead, or why there is none.
        optional: the script says itself what happens without it.
    """

    path: str
    line: int
    name: str
    remedy: str
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.name}: {self.remedy}{' (it can do without)' if self.optional else ''}"


def check(script: Path) -> list[Finding]:
    """All findings in a script and the modules of its own, in order.

    Raises:
        OSError: it cannot be read.
        SyntaxError: it is no Python.
    """
    root, found = script.parent, set()
    to_read, seen = [script], {script.resolve()}
    while to_read:
        path = to_read.pop()
        tree = ast.parse(path.read_bytes(), str(path))
        shown = path if path == script else path.relative_to(root) if path.is_relative_to(root) else path
        found.update(_Reading(str(shown)).findings(tree))
        for beside in _own_modules(tree, path, root):
            if beside.resolve() not in seen:
                seen.add(beside.resolve())
                to_read.append(beside)
    return sorted(found)


def remedy(module: str, name: str) -> str | None:
    """What to do without ``name`` of the canonical ``module``; None where it is here."""
    if name in INTERNALS.get(module, ()):
        return None if internal_names.home(module, name) else names.reason(name)
    if name in names.MODULES.get(module, ()):
        return None if names.home(module, name) else names.reason(name)
    if _is_module(f"{module}.{name}"):
        return None
    hint = did_you_mean(name, [*names.MODULES.get(module, ()), *names.submodules(module)])
    if name.startswith("_"):
        return "a name of Lightning's inside that has no counterpart"
    return f"there is no such name.{hint}"


def _is_module(module: str) -> bool:
    return module in names.MODULES or module in INTERNALS


def _own_modules(tree: ast.AST, path: Path, root: Path) -> Iterator[Path]:
    for node in ast.walk(tree):
        wanted: list[tuple[Path, str]] = []
        if isinstance(node, ast.Import):
            wanted = [(root, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = root if node.level == 0 else path.parents[node.level - 1]
            inside = [f"{node.module}." if node.module else ""]
            wanted = [(start, node.module or "")] + [(start, f"{inside[0]}{alias.name}") for alias in node.names]
        for start, module in wanted:
            place = start.joinpath(*module.split(".")) if module else start
            for candidate in (place.with_suffix(".py"), place / "__init__.py"):
                if module.partition(".")[0] not in names.ROOTS and candidate.is_file():
                    yield candidate


class _Reading(ast.NodeVisitor):
    """One file: which of its names mean what of Lightning's."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._found: set[Finding] = set()
        self._modules: dict[str, str] = {}  # the file's name of it -> the canonical module
        self._optional = False

    def findings(self, tree: ast.AST) -> set[Finding]:
        """Read it."""
        self.visit(tree)
        return self._found

    def visit_If(self, node: ast.If) -> None:
        """Imports for type checkers are none."""
        test = ast.unparse(node.test).rpartition(".")[2]
        for child in node.orelse if test == "TYPE_CHECKING" else [node.test, *node.body, *node.orelse]:
            self.visit(child)

    def visit_Try(self, node: ast.Try) -> None:
        """What is imported here may be missing."""
        caught = {word for handler in node.handlers for word in _caught(handler)}
        outer, self._optional = self._optional, self._optional or bool(caught & {*_GUARDS, ""})
        for child in node.body:
            self.visit(child)
        self._optional = outer
        for rest in [*node.handlers, *node.orelse, *node.finalbody]:
            self.visit(rest)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            module = names.canonical(alias.name)
            if not self._is_lightning(module):
                continue
            self._known_module(module, node)
            root = alias.name.partition(".")[0]
            self._modules[alias.asname or root] = module if alias.asname else names.canonical(root)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = names.canonical(node.module or "")
        if node.level or not self._is_lightning(module) or not self._known_module(module, node):
            return
        for alias in node.names:
            if alias.name == "*":
                continue
            inner = f"{module}.{alias.name}"
            if _is_module(inner):
                self._modules[alias.asname or alias.name] = inner
            self._note(module, alias.name, node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """``pl.loggers.Name``: modules as far as they go, then a name."""
        chain: list[str] = []
        at: ast.expr = node
        while isinstance(at, ast.Attribute):
            chain.insert(0, at.attr)
            at = at.value
        module = self._modules.get(at.id) if isinstance(at, ast.Name) else None
        if module is None:
            self.generic_visit(node)
            return
        while chain and _is_module(f"{module}.{chain[0]}") and chain[0] not in names.MODULES.get(module, ()):
            module = f"{module}.{chain.pop(0)}"
        if chain and not chain[0].startswith("__"):
            self._note(module, chain[0], node)

    def _known_module(self, module: str, node: ast.stmt) -> bool:
        if _is_module(module):
            return True
        parent, _, last = module.rpartition(".")
        hint = did_you_mean(last, names.submodules(parent)) if _is_module(parent) else ""
        self._add(module, f"a module of Lightning's inside that has no counterpart.{hint}".rstrip("."), node)
        return False

    def _note(self, module: str, name: str, node: ast.AST) -> None:
        why = remedy(module, name)
        if why is not None:
            self._add(f"{module}.{name}", why, node)

    def _add(self, name: str, why: str, node: ast.AST) -> None:
        self._found.add(Finding(self._path, getattr(node, "lineno", 0), name, why, self._optional))

    @staticmethod
    def _is_lightning(module: str) -> bool:
        return module.partition(".")[0] in names.ROOTS


def _caught(handler: ast.ExceptHandler) -> Iterator[str]:
    if handler.type is None:
        yield ""
        return
    for kind in handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]:
        yield ast.unparse(kind)
