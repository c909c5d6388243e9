"""What a run in a job tells through its board."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from trainer_job import MemoryLink

import thunderhead as th
from thunderhead import job
from thunderhead.job.board import Phase, Word
from thunderhead.job.errors import InvalidConfiguration
from thunderhead.job.parts import REPLICATED, Kind, Part


class Line(th.LightningModule):
    """A straight line."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Tensor) -> Tensor:
        loss: Tensor = self.layer(batch).square().mean()
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.25)


@pytest.mark.parametrize(("epochs", "batch_size", "steps"), [(1, 4, 3), (2, 4, 6), (3, 10, 3)])
def test_words_of_a_finished_run(tmp_path: Path, epochs: int, batch_size: int, steps: int) -> None:
    link = MemoryLink(tmp_path)
    loader = torch.utils.data.DataLoader(list(torch.ones(10, 1)), batch_size=batch_size)
    job.attach(link)
    try:
        trainer = th.Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
        trainer.fit(Line(), loader)
    finally:
        job.attach(None)
    words = link.board.words
    assert {word: words[word] for word in (Word.STEP, Word.FIRST_STEP, Word.MAX_STEPS, Word.SAMPLES, Word.PHASE)} == {
        Word.STEP: steps,
        Word.FIRST_STEP: 0,
        Word.MAX_STEPS: steps,
        Word.SAMPLES: 10 * epochs,
        Word.PHASE: Phase.DONE,
    }
    assert words[Word.TRAINING_NS] > 0
    assert {"lr", "train_loss"} <= set(link.board.metrics())
    assert max(link.checkpoints.commits) == steps


def test_a_checkpoint_of_another_world_size_is_refused_by_name(tmp_path: Path) -> None:
    link = MemoryLink(tmp_path, {3: {REPLICATED: Part({}, Kind.REPLICATED)}})
    job.attach(link)
    try:
        trainer = th.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
        with pytest.raises(InvalidConfiguration, match="another number of ranks"):
            trainer.fit(Line(), torch.utils.data.DataLoader(list(torch.ones(4, 1))))
    finally:
        job.attach(None)
