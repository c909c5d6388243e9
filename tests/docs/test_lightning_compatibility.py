"""The tables of ``docs/lightning-compatibility.md`` name everything there is, and say of it what the code says."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

import thunderhead as th
from bench.clients.clients import CLIENTS
from thunderhead.compat import names
from thunderhead.exceptions import MisconfigurationException
from thunderhead.precision import canonical_precision

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/lightning-compatibility.md").read_text()
WORDS = ("same", "better", "not")
PRESENT = ("same", "better")


def tables() -> dict[str, dict[str, str]]:
    """The word of every row, by section and first column."""
    found: dict[str, dict[str, str]] = {}
    for section in PAGE.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        rows = [line.strip("| \n").split(" | ") for line in text.splitlines() if line.startswith("| ")]
        found[title] = {row[0]: row[1].rstrip(" |") for row in rows[1:]}
    return {title: rows for title, rows in found.items() if rows}


TABLES = tables()


def single(title: str) -> dict[str, str]:
    """Rows of a section whose first column is one name in backticks."""
    return {m[1]: word for row, word in TABLES[title].items() if (m := re.fullmatch(r"`([\w-]+)`", row))}


def test_every_row_has_a_word() -> None:
    assert len(TABLES) == 18
    for rows in TABLES.values():
        assert set(rows.values()) <= set(WORDS)


def test_every_argument_of_the_trainer() -> None:
    rows = single("Trainer arguments")
    known = set(inspect.signature(th.Trainer.__init__).parameters) - {"self"}
    assert known <= set(rows)
    assert {name for name in rows if name not in known} == {name for name, word in rows.items() if word == "not"}


@pytest.mark.parametrize(
    ("title", "owner"),
    [
        ("Trainer methods", th.Trainer),
        ("Trainer properties", th.Trainer),
        ("LightningModule", th.LightningModule),
        ("Hook order", th.LightningModule),
    ],
)
def test_members(title: str, owner: type) -> None:
    """Rows that are names and nothing else; what exists in part is described by its note."""
    in_part = {"save_checkpoint", "dataloader_idx", "batch_idx", "training_epoch_end"}
    for row, word in TABLES[title].items():
        if re.fullmatch(r"`\w+`(, `\w+`)*", row) is None:
            continue
        for name in set(re.findall(r"\w+", row)) - in_part:
            made = owner() if owner is th.LightningModule else owner(logger=False, accelerator="cpu")
            exists = hasattr(owner, name) or hasattr(made, name)  # a property may not be readable yet
            assert exists == (word in PRESENT), f"{name} is there or gone: mend the section {title!r}"


@pytest.mark.parametrize(("title", "module"), [("Callbacks", "callbacks"), ("Loggers", "loggers")])
def test_callbacks_and_loggers(title: str, module: str) -> None:
    rows = single(title)
    path = f"lightning.pytorch.{module}"
    assert set(rows) == names.MODULES[path] - {"Checkpoint"}
    for name, word in rows.items():
        assert (names.home(path, name) is not None) == (word in PRESENT), f"{name} is there or gone: mend {title}"


def test_precisions() -> None:
    for name, word in single("Precision").items():
        if word in PRESENT:
            assert canonical_precision(name) == name
    with pytest.raises(MisconfigurationException):
        canonical_precision("transformer-engine")


def test_clients_are_as_they_were_last_run() -> None:
    found = json.loads((ROOT / "bench/results/clients.json").read_text())["clients"]
    rows = {f"{each['client']} {each['version']}": "same" if each["passes"] else "not" for each in found}
    assert len(rows) == len(CLIENTS) == 15
    assert rows.items() <= TABLES["Libraries built on Lightning"].items()
    assert f"{list(rows.values()).count('same')} of these {len(rows)} run" in PAGE
