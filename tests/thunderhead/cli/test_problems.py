"""What is wrong is said with its place, its value, the rule, and what was meant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_parts import QUIET, CliData, CliModel

from thunderhead.cli import LightningArgumentParser, LightningCLI
from thunderhead.exceptions import MisconfigurationException


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py"])


CASES = yaml.safe_load((Path(__file__).parent / "problems.yaml").read_text())
ITEM = "  - class_path: thunderhead.callbacks."


def said(
    capsys: pytest.CaptureFixture[str], args: list[str], kind: type[LightningCLI] = LightningCLI, **kwargs: Any
) -> str:
    classes = {"model_class": CliModel, "datamodule_class": CliData}
    with pytest.raises(SystemExit) as exit_:
        kind(**{**classes, "trainer_defaults": QUIET, **kwargs}, args=args)
    assert exit_.value.code == 2
    return capsys.readouterr().err.rstrip().splitlines()[-1]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["says"].partition(": ")[0])
def test_what_is_said(case: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = case.get("file")
    if file is not None:
        (tmp_path / "c.yaml").write_text(file)
    of_file = ["-c", "c.yaml", "fit"] if file is not None and file.startswith("fit:") else ["fit", "--config=c.yaml"]
    classes: dict[str, Any] = {} if case.get("classes", True) else {"model_class": None, "datamodule_class": None}
    assert said(capsys, case.get("args", of_file), **classes) == f"error: {case['says']}"


class Required(CliModel):
    """With an argument that must be given."""

    def __init__(self, needed: int) -> None:
        super().__init__()


class Linked(LightningCLI):
    """With an argument that follows from another."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data.batch_size", "model.size")


@pytest.mark.parametrize("run", [True, False])
def test_options_are_named_as_they_are_written(capsys: pytest.CaptureFixture[str], run: bool) -> None:
    args = ["fit"] if run else []
    wanted = "error: model.needed: must be given, by --model.needed or in a configuration file (-c FILE)"
    assert said(capsys, args, model_class=Required, run=run) == wanted
    linked = said(capsys, [*args, "--model.size=3"], kind=Linked, run=run)
    assert linked == "error: --model.size=3: follows from data.batch_size; give that instead"


def test_arguments_that_contradict_each_other_are_named_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"trainer:\n  max_epochs: 1\n  callbacks:\n{ITEM}ModelCheckpoint\n")
    with pytest.raises(MisconfigurationException, match="enable_checkpointing=False, but callbacks holds") as error:
        LightningCLI(CliModel, run=False, args=["-c", "c.yaml", "--trainer.enable_checkpointing=false"])
    notes = ["trainer.enable_checkpointing stands at --trainer.enable_checkpointing"]
    assert sorted(error.value.__notes__) == ["trainer.callbacks stands at c.yaml:3", *notes]
