"""The picture of floors in docs/architecture.md is the contract that import-linter holds, and names what is there."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/architecture.md").read_text()
SECTION = TEXT.partition("## Inside the trainer")[2].partition("\n## ")[0]


def drawn() -> list[str]:
    picture = SECTION.partition("```\n")[2].partition("```")[0]
    return [re.split(r"\s{2,}", line)[0] for line in picture.splitlines()]


def test_the_picture_is_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (floors,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert drawn() == floors


def test_every_room_has_its_floor() -> None:
    named = {room for floor in drawn() for room in re.split(r" [|:] ", floor)}
    there = {
        path.stem
        for path in (ROOT / "runtime/thunderhead").iterdir()
        if not path.name.startswith("__") and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert there - named == {"strategies"}, "public names of distributed, which nothing imports"
    assert named <= there


def test_what_the_walks_name_exists() -> None:
    walks = SECTION.partition("**A batch.**")[2]
    names = re.findall(r"`((?:[a-z_]+\.)+[A-Za-z_.]+)`", walks)
    assert len(names) >= 15
    for name in names:
        if name.startswith("trainer.callback"):
            continue
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            try:
                found: object = importlib.import_module(".".join(["thunderhead", *parts[:length]]))
            except ModuleNotFoundError:
                continue
            for attribute in parts[length:]:
                found = getattr(found, attribute)
            break
        else:
            raise AssertionError(f"{name} does not exist")
