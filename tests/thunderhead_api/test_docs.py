"""The reference pages say what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from thunderhead_api.conditions import Reason
from thunderhead_api.rules import BEYOND_RULES, default_action
from thunderhead_api.spec import RuleAction
from thunderhead_api.treaty import FINAL_CAUSES, Cause, ConditionType, ExitCode

ROOT = Path(__file__).parents[2]
CONDITIONS = (ROOT / "docs/reference/conditions.md").read_text()


def test_field_reference_is_fresh() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools/reference.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.PAGE.read_text() == generator.render(), "run `python tools/reference.py`"


@pytest.mark.parametrize("word", sorted({*ConditionType, *Reason, *Cause}))
def test_every_word_of_status_is_explained(word: str) -> None:
    assert f"`{word}`" in CONDITIONS


def test_every_exit_code_is_explained() -> None:
    rows = re.findall(r"^\| (\d+) \| ", CONDITIONS, re.MULTILINE)
    assert [int(row) for row in rows] == sorted(ExitCode)


@pytest.mark.parametrize("cause", sorted(set(Cause) - {Cause.COMPLETED, Cause.SUSPENDED, Cause.SPEC_CHANGED}))
def test_the_table_of_causes_says_what_becomes_of_them(cause: Cause) -> None:
    section = CONDITIONS.partition("## Causes")[2]
    (row,) = re.findall(rf"^\| `{cause}` \|(.*)\|$", section, re.MULTILINE)
    _, default, rules = (cell.strip() for cell in row.split("|"))
    expected = {RuleAction.RESTART: "charged restart", RuleAction.RESTART_FREE: "free restart"}
    assert default == ("Failed, budget untouched" if cause in FINAL_CAUSES else expected[default_action(cause)])
    assert rules == ("" if cause in BEYOND_RULES else "✓")
