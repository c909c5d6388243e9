"""The loss of every step as text whose equality is that of the bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer_models import QUIET, Net, shuffled

import thunderhead as th
from thunderhead.callbacks import StepTrace


def test_every_step_of_every_execution(tmp_path: Path) -> None:
    losses = []

    class Keeping(th.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            losses.append(outputs["loss"].item())

    path = tmp_path / "deep" / "trace"
    for _ in range(2):
        th.Trainer(**QUIET, max_epochs=1, callbacks=[StepTrace(path), Keeping()]).fit(Net(), shuffled())
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [float.fromhex(record["loss"]) for record in records] == losses
    assert [(r["step"], r["epoch"], r["batch"]) for r in records] == [(n + 1, 0, n) for n in range(5)] * 2
