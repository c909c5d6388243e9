"""A message under a bar that stands has a line of its own."""

from __future__ import annotations

import importlib
import io
import logging
import pkgutil
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from trainer_models import QUIET, Net, in_order

import thunderhead
import thunderhead as th
from thunderhead import standing
from thunderhead.callbacks import TerminalProgress, TQDMProgressBar
from thunderhead.warning import say

BARS: list[Callable[[io.StringIO, Callable[[], float]], th.Callback]] = [
    lambda stream, clock: TerminalProgress(stream=stream, clock=clock),
    lambda stream, clock: TQDMProgressBar(stream=stream, clock=clock),
]
HOWS: list[Callable[[Any], Any]] = [
    lambda _: say("a note"),
    lambda module: module.print("a note"),
    lambda module: module.trainer.print("a note"),
]
IDS = ["TerminalProgress", "TQDMProgressBar"]


class Terminal(io.StringIO):
    """Standard output, standard error and the bar's stream: one screen."""

    def isatty(self) -> bool:
        """It is one."""
        return True

    def screen(self) -> list[str]:
        """The lines as they stand in the end."""
        lines = [""]
        for part in re.split(r"(\r\x1b\[2K|\n)", self.getvalue()):
            if part == "\n":
                lines.append("")
            else:
                lines[-1] = "" if part.startswith("\r") else lines[-1] + part
        return lines


class Speaks(Net):
    """Says something in the middle of an epoch."""

    def __init__(self, how: Callable[[th.LightningModule], Any]) -> None:
        super().__init__()
        self.how = how

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 2:
            self.how(self)
        return super().training_step(batch, batch_idx)


def fail(_: th.LightningModule) -> None:
    raise KeyboardInterrupt


def screen_of(make: Any, how: Callable[[th.LightningModule], Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    terminal, now = Terminal(), iter(range(10_000))
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr("thunderhead.warning.notes", lambda: Notes(terminal))
    options = {name: value for name, value in QUIET.items() if name != "enable_progress_bar"}
    torch.manual_seed(0)
    trainer = th.Trainer(**options, max_epochs=1, callbacks=[make(terminal, lambda: float(next(now)))])
    try:
        trainer.fit(Speaks(how), in_order(batch_size=6))
    except KeyboardInterrupt:
        terminal.write("Traceback\n")
    assert standing._stands_on == []
    return terminal.screen()


class Notes:
    """The logger of notes, writing to the screen."""

    def __init__(self, terminal: Terminal) -> None:
        self.info = lambda message: terminal.write(f"{message}\n")


@pytest.mark.parametrize("make", BARS, ids=IDS)
@pytest.mark.parametrize("how", HOWS)
def test_a_message_does_not_follow_the_bar_on_its_line(
    make: Any, how: Callable[[th.LightningModule], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = screen_of(make, how, monkeypatch)
    assert "a note" in lines
    assert "Trainer.fit stopped: max_epochs=1 reached" in lines
    assert "" not in lines[:-1], "nor is a line left empty"
    assert any("4/4" in line for line in lines), "the last bar stays"


@pytest.mark.parametrize("make", BARS, ids=IDS)
def test_what_comes_after_an_interrupt_begins_on_a_new_line(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = screen_of(make, fail, monkeypatch)
    said = "Trainer.fit was interrupted and is ending; once more ends it at once"
    assert lines[-3:] == [said, "Traceback", ""]
    assert "2/4" in lines[-4]


def test_a_stream_that_is_closed_disturbs_nobody() -> None:
    closed = io.StringIO()
    standing.stand(closed)
    closed.close()
    standing.step_off()
    assert standing._stands_on == []


def modules_that_log() -> list[str]:
    """Every module of the trainer that has a logger of its own."""
    names = [found.name for found in pkgutil.walk_packages(thunderhead.__path__, "thunderhead.")]
    return [
        name for name in names if isinstance(getattr(importlib.import_module(name), "logger", None), logging.Logger)
    ]


def test_what_a_part_logs_begins_on_a_new_line() -> None:
    spoke = modules_that_log()
    assert {"thunderhead.store.saving", "thunderhead.loops.finite", "thunderhead.loops.telemetry"} <= set(spoke)
    for name in spoke:
        terminal = io.StringIO("a bar")
        terminal.seek(0, io.SEEK_END)
        handler = logging.StreamHandler(terminal)
        logging.getLogger("thunderhead").addHandler(handler)
        standing.stand(terminal)
        try:
            logging.getLogger(name).warning("trouble")
        finally:
            logging.getLogger("thunderhead").removeHandler(handler)
            standing.forget()
        assert terminal.getvalue() == "a bar\ntrouble\n", name
