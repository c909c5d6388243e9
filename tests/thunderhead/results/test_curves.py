"""Curves over all attempts: what counts where steps were done again, and what a run records of itself."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from trainer_job import Losses, MemoryLink

import thunderhead as th
from thunderhead import job
from thunderhead.job.link import CheckpointPolicy
from thunderhead.results.curves import Begin, Record, join, read_records
from thunderhead_agent.curve_file import CurveFile


def record(step: int, epoch: int | None = 0, **values: float) -> Record:
    return Record(step, epoch, values, at=0.0)


@pytest.mark.parametrize(
    ("attempts", "loss"),
    [
        pytest.param({1: [Begin(0), record(0, loss=9), record(1, loss=8)]}, [(0, 9), (1, 8)], id="one attempt"),
        pytest.param(
            {2: [Begin(2), record(3, loss=3)], 1: [Begin(0), record(1, loss=1), record(3, loss=30)]},
            [(1, 1), (3, 3)],
            id="a step done again counts as it was done last, in whatever order they come",
        ),
        pytest.param(
            {1: [record(1, loss=1), record(5, loss=50)], 2: [Begin(2), record(3, loss=3)]},
            [(1, 1), (3, 3)],
            id="what no later attempt has reached yet, or records at other steps, is gone",
        ),
        pytest.param(
            {1: [record(2, loss=7)], 2: [Begin(2), record(4, loss=4)]},
            [(2, 7), (4, 4)],
            id="a validation at the step of the checkpoint stays",
        ),
        pytest.param(
            {1: [record(2, loss=7)], 2: [Begin(2), record(2, loss=6)]}, [(2, 6)], id="unless it is done again"
        ),
        pytest.param(
            {1: [record(9, loss=9)], 2: [Begin(6), record(7, loss=7)], 3: [Begin(3), record(4, loss=4)]},
            [(4, 4)],
            id="an attempt that goes on from before the last one's begin",
        ),
        pytest.param(
            {1: [record(90, None, loss=9)], 2: [Begin(3), record(91, None, loss=8)]},
            [(90, 9), (91, 8)],
            id="an x of its own is compared with no step",
        ),
    ],
)
def test_a_curve_is_that_of_an_undisturbed_run(attempts: dict[int, Any], loss: list[tuple[int, float]]) -> None:
    assert join(attempts) == {"loss": loss}


def test_names_are_joined_each_by_itself() -> None:
    attempts = {1: [record(1, a=1, b=2), record(5, a=5)], 2: [Begin(3), record(4, b=4)]}
    assert join(attempts) == {"a": [(1, 1)], "b": [(1, 2), (4, 4)]}


def test_a_name_of_which_nothing_is_left_has_no_curve() -> None:
    assert join({1: [record(5, gone=5)], 2: [Begin(3)]}) == {}


@pytest.mark.parametrize(
    "line", [b"", b"{", b'{"step": 3, "epoch": 0, "val', b"[1]", b"7", b'{"step": "x", "values": {}}', b'{"step": 1}']
)
def test_what_is_no_record_is_passed_over(line: bytes) -> None:
    whole = b'{"step": 1, "epoch": 0, "values": {"loss": 0.1}, "at": 2.5}'
    assert read_records([line, whole, line]) == [Record(1, 0, {"loss": 0.1}, 2.5)]


def test_the_file_gives_back_the_same_bits_and_what_is_no_number(tmp_path: Path) -> None:
    file = CurveFile(tmp_path / "m", clock=lambda: 1.5)
    file.begin(3)
    values = {"third": 1 / 3, "nan": math.nan, "high": math.inf, "low": -math.inf}
    file.add(values, 4, None)
    file.close()
    begin, found = read_records((tmp_path / "m").read_bytes().splitlines())
    assert begin == Begin(3)
    assert isinstance(found, Record)
    assert (found.step, found.epoch, found.at) == (4, None, 1.5)
    assert str(dict(found.values)) == str(values)


def test_a_file_that_cannot_be_written_or_is_full_ends_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, most, why in ((tmp_path / "no" / "m", 9999, "No such file"), (tmp_path / "m", 60, "more than its")):
        file = CurveFile(path, max_bytes=most)
        for step in range(5):
            file.add({"loss": 1.0}, step, 0)
        file.close()
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert why in said


class Kept:
    """What a trainer records."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, step: int) -> None:
        """A line."""
        self.lines.append(json.dumps({"begin": step}))

    def add(self, values: Any, step: int, epoch: int | None) -> None:
        """A line."""
        self.lines.append(json.dumps({"step": step, "epoch": epoch, "values": dict(values)}))


class Line(th.LightningModule):
    """A line through the data, and what it logs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """One."""
        loss = (self.weight - batch.float().mean()).square().sum()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """One."""
        self.log("val", (self.weight - batch.float().mean()).square().sum())

    def configure_optimizers(self) -> Any:
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _fit(directory: Path, commits: dict[int, Any] | None = None, die_at: int = -1) -> tuple[MemoryLink, Kept]:
    kept = Kept()
    directory.mkdir()
    link = MemoryLink(directory, commits, policy=CheckpointPolicy(every_steps=2), curves=kept)

    def die(trainer: Any) -> None:
        if trainer.global_step == die_at:
            raise RuntimeError("lost")

    arguments: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    job.attach(link)
    try:
        trainer = th.Trainer(
            max_epochs=2, log_every_n_steps=1, accelerator="cpu", callbacks=[Losses(die)],
            default_root_dir=directory, enable_checkpointing=False, num_sanity_val_steps=0, **arguments,
        )  # fmt: skip
        trainer.fit(Line(), DataLoader(range(8), batch_size=2), DataLoader(range(8), batch_size=4))
    except RuntimeError as error:
        assert str(error) == "lost"  # noqa: PT017 - it is raised in one of two calls
    finally:
        job.attach(None)
    return link, kept


def test_a_job_that_was_interrupted_has_the_curves_of_one_that_was_not(tmp_path: Path) -> None:
    """Without any logger, too; validations between the checkpoint and the loss are there once."""
    _, whole = _fit(tmp_path / "whole")
    first, before = _fit(tmp_path / "before", die_at=5)
    _, after = _fit(tmp_path / "after", dict(first.checkpoints.commits))
    undisturbed = join({1: read_records(whole.lines)})
    assert [x for x, _ in undisturbed["loss"]] == list(range(8))
    assert len(undisturbed["val"]) == 2
    assert join({1: read_records(before.lines), 2: read_records(after.lines)}) == undisturbed
    assert len(before.lines) + len(after.lines) > len(whole.lines), "a step was done twice"


def test_reading_curves_needs_no_torch() -> None:
    code = "import sys, thunderhead.results.curves; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert io.StringIO(done.stdout).readline() == "False\n"
