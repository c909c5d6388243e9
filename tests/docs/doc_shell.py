"""Whether the commands a page shows exist: programs, subcommands, options, files, make targets, chart values."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
import yaml
from doc_blocks import ROOT

from thunderhead_cli.main import app

PROGRAMS = {"cd", "docker", "eval", "export", "git", "helm", "kubectl", "ls", "make", "pip", "tensorboard", "torchrun"}
_ASSIGNMENT = re.compile(r"[A-Z_]+=.*")
_OURS = re.compile(r"(?:--[\w-]+=)?((?:charts|crds|docs|e2e|examples|requirements|tools)/[\w./-]+|Dockerfile)$")


def lines(text: str) -> list[str]:
    """Every command as one line."""
    joined = text.replace("\\\n", " ").splitlines()
    return [line for line in joined if shlex.split(line, comments=True)]


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command, without comments and variables set for it."""
    for line in lines(text):
        words = shlex.split(line, comments=True)
        if words and words[0] == "eval":  # the command whose output is evaluated
            words = shlex.split(words[1].removeprefix("$(").removesuffix(")"))
        while _ASSIGNMENT.fullmatch(words[0]):
            del words[0]
        yield words


def problem(words: list[str], here: Path = ROOT) -> str | None:
    """What is wrong with a command; ``here`` is where files of no known place are looked for."""
    program = words[0].rpartition("/")[2]
    if words[0] == ".":
        return None if words[1] == ".venv/bin/activate" else f"what is {words[1]}?"
    lost = [found[1] for word in words if (found := _OURS.match(word)) and not (ROOT / found[1]).exists()]
    if lost:
        return f"there is no {lost[0]}"
    if program == "thunderhead":
        return _thunderhead(words[1:], here)
    if program == "python":
        return _python(words[1:], here)
    if program == "make":
        unknown = [word for word in words[1:] if word not in _make_targets() and "=" not in word]
        return f"there is no target {unknown[0]}" if unknown else None
    if program == "helm":
        return _helm(words)
    return None if program in PROGRAMS else f"what is {program}?"


def _thunderhead(arguments: list[str], here: Path) -> str | None:
    group: Any = typer.main.get_command(app)
    arguments = [
        str((here if (here / word).exists() else ROOT) / word) if ".yaml" in word else word for word in arguments
    ]
    try:
        with typer.Context(group, info_name="thunderhead") as context:
            if arguments[0].startswith("-"):
                group.make_context("thunderhead", arguments)
                return None
            name, command, rest = group.resolve_command(context, arguments)
            made = command.make_context(name, rest, parent=context)
    except typer.Exit:
        return None
    except typer.BadParameter.__base__ as error:  # typer brings a click of its own
        return str(error.format_message())
    file = made.params.get("file")
    return f"there is no {file}" if file is not None and not Path(file).is_file() else None


def _python(arguments: list[str], here: Path) -> str | None:
    if arguments[:1] == ["-m"]:
        return None if importlib.util.find_spec(arguments[1]) else f"there is no module {arguments[1]}"
    if arguments[:1] == ["-c"]:
        return None
    script = next((word for word in arguments if word.endswith(".py")), None)
    return None if script and ((here / script).is_file() or (ROOT / script).is_file()) else f"there is no {script}"


def _make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text() + (ROOT / "e2e/cluster.mk").read_text()
    return set(re.findall(r"^([\w-]+):(?!=)", text, re.MULTILINE))


def _helm(words: list[str]) -> str | None:
    if words[1] in ("install", "upgrade") and not {"-n", "--namespace"} & set(words):
        return "it names no namespace, so helm takes that of the reader's context"
    if "--reuse-values" in words:
        return "--reuse-values loses the defaults of a newer chart; --reset-then-reuse-values takes them"
    values = yaml.safe_load((ROOT / "charts/thunderhead/values.yaml").read_text())
    for option, setting in pairwise(words):
        if option != "--set":
            continue
        found: Any = values
        for part in setting.partition("=")[0].split("."):
            if not isinstance(found, dict) or part not in found:
                return f"the chart has no value {setting}"
            found = found[part]
    return None
