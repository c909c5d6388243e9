"""What is wrong with a command line, said so that it can be mended: place, value, rule, and what was meant.

jsonargparse says it too, for whoever knows its types; its messages are read here. One that is not understood stays.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from jsonargparse import ArgumentParser

from thunderhead.cli.lines import Written, configuration_files, written
from thunderhead.exceptions import did_you_mean
from thunderhead_api.yaml_remedy import remedy

_TOKEN: Final = re.compile(
    r"^(?P<indent>[ -]*)(?:Parser key \"(?P<key>[^\"]+)\"|Problem with given class_path '(?P<kind>[^']+)'"
    r"|Option '(?P<option>[^']+)' is not accepted|the following arguments are required: (?P<required>.+))",
    re.MULTILINE,
)
_UNKNOWN: Final = (
    re.compile(r"^Subcommand '(?P<outer>[^']+)' does not accept option '(?P<name>[^']+)'"),
    re.compile(r"^(?P<group>Group) '(?P<outer>[^']+)' does not accept option '(?P<name>[^']+)'"),
    re.compile(r"^Option '(?P<name>[^']+)' is not accepted"),
    re.compile(r"^unrecognized arguments: --(?P<name>[^ =]+)"),
)
_NO_SUBCOMMAND: Final = re.compile(r"invalid choice: '(?P<name>[^']+)' \(choose from (?P<known>.+)\)")
_VALUE: Final = re.compile(r"(?:Given|Got) value: (.+)")
_NESTED: Final = re.compile(r"NestedArg\(key='[^']*', val='?(.*?)'?\)")
_SUBTYPES: Final = re.compile(r"Subtypes: \[(.*)\]")
_EXPECTED: Final = re.compile(r"Expected an? (<class '[^']+'>|[A-Za-z][^.\n]*)")
_CLASS: Final = re.compile(r"<class '(?:[\w.]*\.)?(\w+)'>")
_NO_NAME: Final = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
_LINKED: Final = re.compile(r'^Linked "(?P<target>[^"]+)" must be given via "(?P<source>[^"]+)"')
_NO_FILE: Final = re.compile(r"^Parser key \"config\": File does not exist: '(?P<path>[^']+)'")
_NO_MAPPING: Final = re.compile(r"^'(\w+)' object has no attribute 'keys'$")
_OF_A_CLASS: Final = ("class_path", "init_args", "dict_kwargs")
_NOT_DERIVED: Final = re.compile(r"[Ii]mport path .*does not correspond to a subclass of (\w+)")


@dataclass(frozen=True, slots=True)
class Given:
    """What was given to the parser.

    Attributes:
        arguments: of the command line.
    """

    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that is wrong.

    Attributes:
        path: keys from the outermost.
        rule: what it must be, or why it cannot be.
        value: as jsonargparse has it.
    """

    path: tuple[str, ...]
    rule: str
    value: str = ""


def explained(message: str, parser: ArgumentParser, given: Given) -> str:
    """``message`` in one line that names file and line, value, rule and the nearest valid name; else as it is."""
    files = configuration_files(given.arguments)
    if message.startswith("Problems parsing config"):
        return _not_yaml(files) or message
    if message.startswith("Unexpected config:") and files:
        return f"{files[-1]}: must hold options by their names, as in trainer: {{max_epochs: 3}}"
    found = _read(message, parser)
    if found is None:
        return message
    place = written(found.path, given.arguments, files)
    return _sentence(found, place)


def places_of(said: str, group: str, names: Iterable[str], arguments: Sequence[str]) -> list[str]:
    """Where the arguments stand that an error of the class itself speaks of, such as two that contradict each other."""
    files = configuration_files(arguments)
    found = [(name, written((group, name), arguments, files)) for name in names if re.search(rf"\b{name}\b", said)]
    return [f"{group}.{name} stands at {place.where}" for name, place in found if place is not None]


def _sentence(found: Wrong, place: Written | None) -> str:
    key = ".".join(part for part in found.path if not part.startswith("="))
    value = (place.value if place is not None else "") or found.value
    shown = f"{key}={value}" if value else key
    if place is None:
        return f"{shown}: {found.rule}"
    if place.where.startswith("-"):
        return f"{place.where}={value}: {found.rule}"
    return f"{place.where}: {shown}: {found.rule}"


def _read(message: str, parser: ArgumentParser) -> Wrong | None:
    for pattern in _UNKNOWN:
        if (match := pattern.search(message)) is not None:
            return _unknown_option(match, parser)
    if (match := _NO_SUBCOMMAND.search(message)) is not None:
        known = re.findall(r"'(\w+)'", match["known"])
        return Wrong(
            ("subcommand",), f"must be one of {', '.join(known)}.{did_you_mean(match['name'], known)}", match["name"]
        )
    if (match := _LINKED.search(message)) is not None:
        return Wrong(tuple(match["target"].split(".")), f"follows from {match['source']}; give that instead")
    if (match := _NO_FILE.search(message)) is not None:
        return Wrong(("config",), f"there is no such file.{_file_meant(match['path'])}", match["path"])
    tokens = _chain(message)
    if not tokens:
        return None
    first = tokens[0]
    if first["required"] is not None:
        name = _without_subcommand(first["required"].split(", ")[0], parser)
        return Wrong((name,), f"must be given, by --{name} or in a configuration file (-c FILE)")
    return None if first["key"] is None or first["key"] == "config" else _inside(message, tokens, parser)


def _chain(message: str) -> list[re.Match[str]]:
    """From the outermost to the innermost, the first of those that stand beside each other."""
    found: list[re.Match[str]] = []
    for match in _TOKEN.finditer(message):
        if found and len(match["indent"]) <= len(found[-1]["indent"]):
            break
        found.append(match)
    return found


def _inside(message: str, tokens: Sequence[re.Match[str]], parser: ArgumentParser) -> Wrong:
    path: list[str] = []
    kind = None
    for token in tokens:
        if token["key"] is not None:
            path += (["init_args"] if kind is not None else []) + token["key"].split(".")
            kind = None
        elif token["kind"] is not None:
            kind = token["kind"]
            path.append(f"={kind}")  # which item of a list
        elif token["option"] is not None:
            name, owner = token["option"], kind or "the class"
            if (beside := _beside_class_path(name, message)) is not None:
                rule = f"beside class_path stand init_args and dict_kwargs only.{did_you_mean(beside, _OF_A_CLASS)}"
                return Wrong((*path, beside), rule)
            rule = f"{_short(owner)} has no argument {name!r}.{did_you_mean(name, _arguments_of(owner))}"
            return Wrong((*path, "init_args", name), rule, _value(message))
        elif token["required"] is not None:
            return Wrong(tuple(path), f"{_short(kind or '')} needs {token['required']}, which nobody gives")
    rest = _said_of(tokens[-1], message)
    if kind is not None and (held := _NO_MAPPING.match(rest.splitlines()[1].strip())) is not None:
        return Wrong((*path, "init_args"), f"init_args must hold arguments by their names, not a {held[1]}")
    if kind is not None:
        return Wrong((*path, "class_path"), _not_there(rest.splitlines()[1].strip(), kind), kind)
    if (given := _described(rest)) and not isinstance(given[-1]["class_path"], str):
        return Wrong(
            (*path, "class_path"), "must be the path of a class, as package.Class", str(given[-1]["class_path"])
        )
    return _of_wrong_type(tuple(path), rest)


def _without_subcommand(name: str, parser: ArgumentParser) -> str:
    action = parser._subcommands_action
    first, _, rest = name.partition(".")
    return rest if rest and action is not None and first in action.choices else name


def _beside_class_path(option: str, message: str) -> str | None:
    """The key that somebody wrote where ``init_args`` belongs; jsonargparse takes it for an argument of the base."""
    first = option.partition(".")[0]
    return first if first not in _OF_A_CLASS and any(first in given for given in _described(message)) else None


def _described(message: str) -> list[dict[str, object]]:
    """Values with a class path that the message shows."""
    found = []
    for value in _VALUE.findall(message):
        try:
            given = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            continue
        if isinstance(given, dict) and "class_path" in given:
            found.append(given)
    return found


def _file_meant(path: str) -> str:
    beside = [found.name for found in Path(path).parent.glob("*.y*ml")]
    return did_you_mean(Path(path).name, beside)


def _said_of(token: re.Match[str], message: str) -> str:
    """The lines below it that are further in."""
    lines = message[token.end() :].splitlines()
    own = len(token["indent"])
    last = next((at for at, line in enumerate(lines) if at and line and _indent(line) <= own), len(lines))
    return "\n".join(lines if own == 0 else lines[:last])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" -"))


def _of_wrong_type(path: tuple[str, ...], rest: str) -> Wrong:
    value = _value(rest)
    if (derived := _NOT_DERIVED.search(rest)) is not None:
        return Wrong(path, f"must be a class derived from {derived[1]}", value)
    subtypes = _SUBTYPES.search(rest)
    names = _words(subtypes[1].split(", ") if subtypes is not None else _EXPECTED.findall(rest))
    if "Expected a dot import path string" in rest and value and "float" not in names:
        known = [name for kind in names for name in _names_below(kind)]
        rule = (
            f"no class of that name is imported.{did_you_mean(value, known)} Write package.Class, as Python imports it"
        )
        return Wrong(path, rule, value)
    return Wrong(path, f"must be {' or '.join(names)}" if names else " ".join(rest.split()), value)


def _unknown_option(match: re.Match[str], parser: ArgumentParser) -> Wrong:
    groups = match.groupdict()
    name = f"{groups['outer']}.{match['name']}" if groups.get("group") else match["name"]
    outer = groups.get("outer") if not groups.get("group") else None
    known = [option.removeprefix("--") for option in _options(parser, outer) if option.startswith("--")]
    return Wrong(tuple(name.split(".")), f"there is no such option.{did_you_mean(name, known)}")


def _options(parser: ArgumentParser, subcommand: str | None) -> Iterable[str]:
    action = parser._subcommands_action
    if subcommand is not None and action is not None and subcommand in action.choices:
        return list(action.choices[subcommand]._option_string_actions)
    return list(parser._option_string_actions)


def _not_there(said: str, kind: str) -> str:
    if (lacking := _NO_NAME.search(said)) is not None:
        names = [name for name in vars(sys.modules.get(lacking[1], sys)) if not name.startswith("_")]
        return f"{said}.{did_you_mean(lacking[2], names)}"
    if said.startswith("No module named"):
        return f"{said}; install it, or put its directory on PYTHONPATH.{did_you_mean(kind, _imported(kind))}"
    return said


def _imported(kind: str) -> list[str]:
    """Class paths of modules that are imported, whose last name is that of ``kind``."""
    name = _short(kind)
    return [f"{module}.{name}" for module, found in list(sys.modules.items()) if name in getattr(found, "__dict__", ())]


def _names_below(name: str) -> list[str]:
    """Short names of the classes that derive from those of that name."""
    bases = [kind for kind in _all_below(object) if kind.__name__ == name] if name not in ("null", "str") else []
    return [kind.__name__ for base in bases for kind in (base, *_all_below(base))]


def _all_below(base: type) -> list[type]:
    found: list[type] = []
    left: list[type] = list(type.__subclasses__(base))
    seen: set[int] = set()
    while left:
        kind = left.pop()
        if id(kind) not in seen and isinstance(kind, type):
            seen.add(id(kind))
            found.append(kind)
            left += type.__subclasses__(kind)
    return found


def _arguments_of(path: str) -> list[str]:
    module, _, name = path.rpartition(".")
    kind = getattr(sys.modules.get(module), name, None)
    owners = kind.__mro__ if isinstance(kind, type) else ()
    signatures = [
        inspect.signature(vars(owner)["__init__"])
        for owner in owners
        if "__init__" in vars(owner) and owner is not object
    ]
    return [name for signature in signatures for name in signature.parameters if name != "self"]


def _value(message: str) -> str:
    found = _VALUE.findall(message)
    value = found[-1] if found else ""
    nested = _NESTED.fullmatch(value)
    return nested[1] if nested is not None else value if len(value) <= 80 else ""


def _words(names: Iterable[str]) -> list[str]:
    shown = [_CLASS.sub(r"\1", name).replace("NoneType", "null") for name in names]
    return list(dict.fromkeys(re.sub(r"(?:\w+\.)+(\w+)", r"\1", name) for name in shown))


def _short(path: str) -> str:
    return path.rpartition(".")[2]


def _not_yaml(files: Sequence[str]) -> str | None:
    for file in files:
        try:
            with open(file) as stream:
                yaml.compose(stream, Loader=yaml.SafeLoader)
        except (OSError, yaml.YAMLError) as error:
            mark = getattr(error, "problem_mark", None)
            line = "" if mark is None else f":{mark.line + 1}"
            said = str(getattr(error, "problem", None) or error)
            todo = remedy(said, getattr(error, "context_mark", None))
            return f"{file}{line}: is no valid YAML: {said}{f'; {todo}' if todo else ''}"
    return None
