"""Where something was written: an argument of the command line, or a line of a configuration file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True, slots=True)
class Written:
    """A value, as somebody wrote it.

    Attributes:
        where: ``config.yaml:12``, or ``--trainer.max_epochs``.
        value: its text; empty for something with parts.
    """

    where: str
    value: str


def written(path: Sequence[str], arguments: Sequence[str], files: Sequence[str]) -> Written | None:
    """Where the value at ``path`` stands; what was read last wins, as it does for the command line.

    Args:
        path: keys from the outermost, ``("trainer", "max_epochs")``; ``=package.Class`` is the item of a list that
            names that class.
        arguments: of the command line.
        files: configuration files, in the order in which they were read.
    """
    return _argument(path, arguments) or next((found for file in reversed(files) if (found := _line(path, file))), None)


def configuration_files(arguments: Sequence[str], options: Sequence[str] = ("-c", "--config")) -> list[str]:
    """Files that the command line reads, in order."""
    found = [value for option, value in _options(arguments) if option in options]
    return [value for value in found if os.path.isfile(value)]


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, argument in enumerate(arguments):
        if not argument.startswith("-"):
            continue
        option, equals, value = argument.partition("=")
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        yield option, value if equals else following


def _argument(path: Sequence[str], arguments: Sequence[str]) -> Written | None:
    path = [part for part in path if not part.startswith("=")]
    wanted = f"--{'.'.join(path)}"
    # A class's arguments can be given without init_args in between, and what holds the value as a whole counts too.
    short = f"--{'.'.join(part for part in path if part != 'init_args')}"
    options = list(_options(arguments))
    whole = short.removesuffix(".class_path")
    for name in dict.fromkeys((wanted, short, whole)):
        found = [(option, value) for option, value in options if option in (name, f"{name}+")]
        if found:
            return Written(*found[-1])
    return None


def _line(path: Sequence[str], file: str) -> Written | None:
    try:
        root = yaml.compose(Path(file).read_text(), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    for start in _starts(root):
        if (found := _below(start, path)) is not None:
            mark, node = found
            return Written(f"{file}:{mark.line + 1}", node.value if isinstance(node, yaml.ScalarNode) else "")
    return None


def _starts(root: yaml.Node | None) -> list[yaml.Node | None]:
    """A file may be of one subcommand, or hold several under their names."""
    inside = [value for _, value in root.value] if isinstance(root, yaml.MappingNode) else []
    return [root, *inside]


def _below(node: yaml.Node | None, path: Sequence[str]) -> tuple[yaml.Mark, yaml.Node] | None:
    found = None
    for key in path:
        found = _step(node, key)
        if found is None:
            return None
        node = found[1]
    return found


def _step(node: yaml.Node | None, key: str) -> tuple[yaml.Mark, yaml.Node] | None:
    if key.startswith("="):
        return _of_class(node, key[1:])
    if isinstance(node, yaml.MappingNode):
        return next(
            ((name.start_mark, value) for name, value in node.value if getattr(name, "value", None) == key), None
        )
    return None


def _of_class(node: yaml.Node | None, path: str) -> tuple[yaml.Mark, yaml.Node] | None:
    """The item of a list that names the class, or what names it by itself."""
    if node is None:
        return None
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for item in items:
        named = _step(item, "class_path") if isinstance(item, yaml.MappingNode) else None
        text = getattr(item if named is None else named[1], "value", None)
        if isinstance(text, str) and text.rpartition(".")[2] == path.rpartition(".")[2]:
            return item.start_mark, item
    return None if isinstance(node, yaml.SequenceNode) else (node.start_mark, node)
