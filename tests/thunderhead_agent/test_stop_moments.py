"""SIGTERM for one of two nodes, in moments where no step follows at once: every agent ends alike, at one step."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from agent_attempts import Attempt, Start, newest_bits

from thunderhead_api.treaty import ExitCode

pytestmark = pytest.mark.timeout(600)

CODE = """
import time
from pathlib import Path
import torch
import thunderhead as th
from thunderhead.job import attached
from thunderhead.job.stop import NEVER

class Regression(th.LightningModule):
    def __init__(self, hold_at: str = "", tell: str = ""):
        super().__init__()
        self.hold_at, self.tell = hold_at, Path(tell)
        nn = torch.nn
        self.net = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))

    def _at(self, moment):
        if moment == self.hold_at:
            self.tell.with_name(f"{self.tell.name}-{self.global_rank}").touch()
            while attached().stop.limit == NEVER:
                time.sleep(0.01)

    def _loss(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self.net(x), y)

    def training_step(self, batch, index):
        self._at(f"batch {self.current_epoch}.{index}")
        loss = self._loss(batch)
        self.log("loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, index):
        sanity = self.trainer.sanity_checking
        self._at(f"sanity {index}" if sanity else f"validation {self.current_epoch}.{index}")
        self.log("val_loss", self._loss(batch))

    def on_train_epoch_end(self):
        self._at(f"end of {self.current_epoch}")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)

    def train_dataloader(self):
        x = torch.randn(96, 6, generator=torch.Generator().manual_seed(1))
        data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
        return torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)

    def val_dataloader(self):
        x = torch.randn(32, 6, generator=torch.Generator().manual_seed(2))
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4)
"""

# Six batches per rank and epoch, in windows of two. Each attempt goes on from the step before and ends at its own.
STOPS = (("sanity 1", 0), ("batch 0.2", 2), ("validation 0.1", 3), ("end of 1", 6))


@pytest.fixture
def attempt(start: Start) -> Callable[..., Attempt]:
    """Starts attempts of one job on two nodes, each with one process."""
    (start.directory / "code").mkdir()
    (start.directory / "code" / "regression.py").write_text(CODE)

    def begin(number: int, store: str, hold_at: str = "") -> Attempt:
        given = {"hold_at": hold_at, "tell": str(start.directory / f"held-{number}")}
        spec: dict[str, Any] = {
            "command": "fit",
            "module": {"class_path": "regression.Regression", "init_args": given},
            "trainer": {
                "max_epochs": 3,
                "accumulate_grad_batches": 2,
                "logger": [],
                "enable_checkpointing": False,
            },
            "seed": 7,
            "checkpoint": {"uri": f"file://{start.directory}/{store}"},
        }
        return start(nodes=2, processes=1, attempt=number, **spec)

    return begin


def test_a_chain_of_stops_ends_in_the_bits_of_an_undisturbed_run(attempt: Callable[..., Attempt], start: Start) -> None:
    undisturbed = attempt(1, "straight")
    assert undisturbed.wait() == [ExitCode.DONE] * 2, undisturbed.logs()

    for number, (moment, step) in enumerate(STOPS, start=2):
        stopped = attempt(number, "store", moment)
        held = [start.directory / f"held-{number}-{rank}" for rank in range(2)]
        stopped.until(lambda held=held: all(path.exists() for path in held))
        stopped.nodes[1].process.send_signal(signal.SIGTERM)
        assert stopped.wait() == [ExitCode.STOPPED] * 2, stopped.logs()
        for node in stopped.nodes:
            assert node.record.last_step == step, moment
            assert node.record.checkpoint is not None
            assert node.record.checkpoint.step == step, moment

    finished = attempt(len(STOPS) + 2, "store")
    assert finished.wait() == [ExitCode.DONE] * 2, finished.logs()
    assert [node.record.first_step for node in finished.nodes] == [6, 6]
    assert newest_bits(start.directory / "store") == newest_bits(start.directory / "straight")
