"""Ctrl-C: callbacks hear of it, and the script ends with exit code 1; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from trainer_models import QUIET

import thunderhead as th

SCRIPT = """
import os, signal, sys
sys.path.insert(0, {here!r})
from test_interrupts import *

class Tells(th.Callback):
    def on_exception(self, trainer, pl_module, exception):
        print("heard", type(exception).__name__, trainer.state.status, flush=True)
        if {again}:
            os.kill(os.getpid(), signal.SIGINT)
            print("not at once", flush=True)

trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=[Tells()])
trainer.{run}
print("went on", flush=True)
"""


def rows() -> DataLoader[Tensor]:
    return DataLoader(torch.ones(3, 1))  # type: ignore[arg-type]  # a tensor has a length and items


class Interrupted(th.LightningModule):
    """Is interrupted in the second batch of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if batch_idx == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return self.layer(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return Interrupted.training_step(self, batch, batch_idx)

    test_step = predict_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


class InValidation(Interrupted):
    """The same in validation alone."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).sum()


RUNS = {
    "fit": "fit(Interrupted(), rows())",
    "validation in fit": "fit(InValidation(), rows(), rows())",
    "test": "test(Interrupted(), rows())",
    "predict": "predict(Interrupted(), rows())",
}


def _run(directory: Path, run: str, *, again: bool = False) -> subprocess.CompletedProcess[str]:
    (directory / "script.py").write_text(SCRIPT.format(here=str(Path(__file__).parent), run=RUNS[run], again=again))
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    settings = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "script.py"]
    return subprocess.run(command, cwd=directory, env=settings, capture_output=True, text=True, timeout=100)


def test_a_script_ends_with_code_1(tmp_path: Path) -> None:
    done = _run(tmp_path, "fit")
    assert (done.returncode, done.stdout) == (1, "heard KeyboardInterrupt interrupted\n"), done.stderr
    assert "Traceback" not in done.stderr
    assert "Trainer.fit was interrupted and is ending; once more ends it at once" in done.stderr


def test_a_second_one_ends_it_at_once(tmp_path: Path) -> None:
    done = _run(tmp_path, "fit", again=True)
    assert done.returncode != 0
    assert done.stdout == "heard KeyboardInterrupt interrupted\n", done.stderr


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("caught_as", [SystemExit, KeyboardInterrupt])
def test_who_calls_may_catch_it_by_both_names(run: str, caught_as: type[BaseException]) -> None:
    trainer = th.Trainer(**QUIET, max_epochs=1, num_sanity_val_steps=0)
    with pytest.raises(caught_as) as caught:
        eval(f"trainer.{RUNS[run]}")
    assert getattr(caught.value, "code", None) == 1
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)
    assert trainer.interrupted
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    trainer.fit(InValidation(), rows())
    assert trainer.state.finished
