"""Values over several ranks: over all, over a group of them, or rank 0's alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.distributed as dist
from trainer_line import Line, numbers
from trainer_models import QUIET
from trainer_ranks import run_ranks

import thunderhead as th


def test_over_whom_values_are_reduced(tmp_path: Path) -> None:
    """Rank 0 logs 1 and 3 in its two batches, rank 1 logs 2 and 6; by step the newest counts, by epoch all do."""
    steps, epochs = {"all": [4.5, 4.5], "own": [3.0, 6.0]}, {"all": [3.0, 3.0], "own": [2.0, 4.0], "most": [6.0, 6.0]}
    for rank, found in enumerate(run_ranks(_logged, 2, tmp_path)):
        expected = {f"{name}_step": values[rank] for name, values in steps.items()}
        expected |= {f"{name}_epoch": values[rank] for name, values in epochs.items()}
        expected |= {"zero_step": 3.0, "zero_epoch": 2.0} if rank == 0 else {}
        assert {name: found[name] for name in expected} == expected
        assert ("zero_epoch" in found) == (rank == 0)


def _logged(rank: int) -> dict[str, float]:
    groups: list[Any] = []

    class Synced(Line):
        def on_train_start(self) -> None:
            groups.extend(dist.new_group([number]) for number in (0, 1))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            value = (rank + 1.0) * (1 + 2 * batch_idx)
            both = {"on_step": True, "on_epoch": True, "sync_dist": True}
            self.log("all", value, **both)  # type: ignore[arg-type]  # a dict of options
            self.log("own", value, sync_dist_group=groups[rank], **both)  # type: ignore[arg-type]  # the same
            self.log("most", value, reduce_fx="max", **both)  # type: ignore[arg-type]  # the same
            if rank == 0:
                self.log("zero", value, rank_zero_only=True, **both)  # type: ignore[arg-type]  # the same
            return super().training_step(batch, batch_idx)

    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Synced(), numbers(1, 2, 3, 4))
    return {name: value.item() for name, value in trainer.callback_metrics.items()}
