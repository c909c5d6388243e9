"""The progress line: what it says, and how often."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from thunderhead_api.messages import CommittedCheckpoint, RankStatus, SkippedCheckpoints, StatusReply
from thunderhead_cli.local.progress_line import ProgressLine, activity, duration, metrics_shown, progress_line

REPLY = StatusReply(
    uid="u",
    attempt=2,
    node_rank=0,
    phase="Train",
    world_size=4,
    epoch=7,
    step=161,
    max_steps=460,
    percent=35,
    step_seconds=0.0123,
    metrics={"epoch": 7.0, "train_loss": 0.123456, "val_acc": "NaN"},
    checkpoint=CommittedCheckpoint(uri="file:///c", step=160, committed_at="2026-01-01T00:00:00Z"),
)


def test_line_says_everything() -> None:
    assert progress_line(REPLY, nodes="2/2", elapsed_s=75) == (
        "[1:15]  attempt 2  train  epoch 7  step 161/460  35 %  12.3 ms/step  train_loss=0.1235  val_acc=NaN"
        "  checkpoint 160  pods 2/2"
    )


def test_line_tells_of_checkpoints_that_are_skipped_now() -> None:
    for in_a_row, shown in ((2, True), (0, False)):
        skipped = SkippedCheckpoints(total=5, in_a_row=in_a_row)
        line = progress_line(REPLY.model_copy(update={"skipped_checkpoints": skipped}), nodes="2/2", elapsed_s=0)
        assert ("checkpoint 160  2 checkpoints skipped" in line) is shown


def test_line_does_without_what_is_not_known_yet() -> None:
    """An attempt that goes on from a checkpoint has not begun at step 0, nor does it know yet where it will begin."""
    bare = StatusReply(uid="u", attempt=1, node_rank=0, phase="Starting", world_size=4)
    assert progress_line(bare, nodes="0/2", elapsed_s=0) == ("[0:00]  attempt 1  starting: loading PyTorch  pods 0/2")


@pytest.mark.parametrize(
    ("first_step", "step", "shown"), [(0, 0, "step 0"), (20, 20, "step 20"), (None, 3, "step 3"), (None, 0, "")]
)
def test_the_step_is_told_once_it_is_known(first_step: int | None, step: int, shown: str) -> None:
    reply = StatusReply(uid="u", attempt=2, node_rank=0, phase="Train", world_size=1, step=step, first_step=first_step)
    line = progress_line(reply, nodes="1/1", elapsed_s=0)
    assert line == f"[0:00]  attempt 2  train  {f'epoch 0  {shown}  ' if shown else ''}pods 1/1"


def test_what_was_logged_comes_before_what_the_runtime_adds() -> None:
    names = ["epoch", "loss", "loss_epoch", "loss_step", "lr", "lr-Adam", "samples_per_second", "val_loss"]
    shown = metrics_shown(dict.fromkeys(names, 1.0))
    assert shown == ["loss=1", "val_loss=1", "loss_epoch=1", "loss_step=1"]


RANK = RankStatus(rank=0, node_rank=0, phase="Starting", step=0, age_seconds=0, step_seconds=0)


@pytest.mark.parametrize(
    ("phase", "known", "said"),
    [
        ("Starting", {"missing_nodes": [1]}, "starting: waiting for the pod of node 1"),
        (
            "Starting",
            {"missing_nodes": [1, 2, 3, 4, 5, 7]},
            "starting: waiting for the pod of node 1, 2, 3, 4 and 2 more",
        ),
        ("Starting", {}, "starting: loading PyTorch"),
        ("Starting", {"ranks": [RANK]}, "starting: worker processes begin"),
        ("Rendezvous", {"ranks_met": 3}, "rendezvous: 3 of 4 ranks have met"),
        ("Building", {}, "building: importing the code, building module and data"),
        ("Restoring", {}, "restoring: looking for the newest checkpoint and reading it"),
        ("Stopping", {}, "stopping: all ranks commit a checkpoint"),
        ("Train", {}, "train"),
        ("OfTomorrow", {}, "oftomorrow"),
    ],
)
def test_the_phases_before_training_say_what_they_wait_for(phase: str, known: dict[str, Any], said: str) -> None:
    assert activity(StatusReply(uid="u", attempt=1, node_rank=0, phase=phase, world_size=4, **known)) == said


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00"), (75, "1:15"), (3675, "1:01:15")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_one_line_per_interval_and_none_twice() -> None:
    out, clock = io.StringIO(), Clock()
    line = ProgressLine(out, is_terminal=False, interval_s=5, clock=clock)
    for at, text in [(0, "a"), (1, "b"), (4.9, "c"), (5, "d"), (11, "d"), (12, "e")]:
        clock.now = at
        line.show(text)
    line.close()
    assert out.getvalue() == "a\nd\ne\n"


def test_a_terminal_gets_one_line_rewritten_below_what_stays() -> None:
    out = io.StringIO()
    line = ProgressLine(out, is_terminal=True, interval_s=5, clock=Clock(), width=10)
    line.show("first")
    line.say("stays")
    line.show("a line too long for it")
    line.close()
    assert screen(out.getvalue()) == ["stays", ""]
    assert "a line to" in out.getvalue()
    assert "a line too" not in out.getvalue()


def screen(written: str) -> list[str]:
    """What a terminal shows after all this."""
    lines = [""]
    for part in re.split("(\r\x1b\\[2K|\n)", written):
        if part == "\n":
            lines.append("")
        elif part.startswith("\r"):
            lines[-1] = ""
        else:
            lines[-1] += part
    return lines
