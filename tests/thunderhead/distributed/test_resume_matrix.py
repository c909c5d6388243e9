"""Several ranks, stopped and resumed, end with the bits of an undisturbed run, whatever they train and however."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from trainer_job import Losses, MemoryLink, StopAt
from trainer_models import QUIET, Net, Noisy, bits, in_order, regression, shuffled
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead import job
from thunderhead.job.errors import Stopped
from thunderhead.job.stop import boundary_tick, evaluation_tick
from thunderhead.strategies import DDPStrategy


class Plateaus(Net):
    """A plateau scheduler, per step on the training loss or per epoch on validation's, both the mean of all ranks."""

    def __init__(self, interval: str) -> None:
        super().__init__()
        self._interval = interval

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("agreed", self.all_gather(loss.detach()).mean(), on_step=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        inputs, target = batch
        self.log("agreed_val", torch.nn.functional.mse_loss(self(inputs), target), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.7, patience=0, threshold=0.3)
        monitor = "agreed" if self._interval == "step" else "agreed_val"
        return [optimizer], [{"scheduler": plateau, "monitor": monitor, "interval": self._interval}]


class Adversaries(Net):
    """Manual optimisation of two optimizers, with a scheduler that the module steps."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        one, other = self.optimizers()
        for optimizer in (one, other):
            loss = super().training_step(batch, batch_idx)
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(optimizer, 0.5, "norm")
            optimizer.step()
        self.lr_schedulers().step()
        return loss.detach()

    def configure_optimizers(self) -> Any:
        one = torch.optim.SGD(self.net[:2].parameters(), 0.05, momentum=0.9)
        other = torch.optim.AdamW(self.net[3].parameters(), 0.05)
        return [one, other], [torch.optim.lr_scheduler.StepLR(one, 3, 0.8)]


class Branching(Net):
    """A layer that only every other batch uses."""

    def __init__(self) -> None:
        super().__init__()
        self.rare = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return loss + self.rare(batch[0]).square().mean() if batch_idx % 2 else loss


def ddp(**options: Any) -> dict[str, Any]:
    return {"strategy": DDPStrategy(**options)}


CASES: dict[str, Any] = {
    "plain": lambda: (Net(), {}, {}),
    "bf16-mixed": lambda: (Net(), {"precision": "bf16-mixed"}, {}),
    "accumulation and clipping": lambda: (Net(), {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}, {}),
    "scheduler per epoch": lambda: (Net(scheduler="epoch"), {}, {}),
    "plateau per step": lambda: (Plateaus("step"), {}, {}),
    "plateau per epoch": lambda: (Plateaus("epoch"), {}, {}),
    "validation twice per epoch": lambda: (Net(), {"val_check_interval": 2}, {}),
    "two optimizers, manually": lambda: (Adversaries(), {}, {}),
    "unused parameters": lambda: (Branching(), ddp(find_unused_parameters=True), {}),
    "random samples": lambda: (Net(), {}, {"dataset": Noisy(44)}),
    "static graph": lambda: (Net(), ddp(static_graph=True), {}),
    "loader processes": lambda: (Net(), {"max_epochs": 2}, {"dataset": Noisy(44), "num_workers": 2}),
}


def train(rank: int, case: str, link: MemoryLink) -> Any:
    """One execution, from scratch as a new process would: seed, build, fit."""
    job.attach(link)
    th.seed_everything(3, verbose=False)
    module, arguments, loading = CASES[case]()
    torch.manual_seed(100 + rank)
    losses = Losses()
    options = {**QUIET, "max_epochs": 2, "num_sanity_val_steps": 0, **arguments}
    trainer = th.Trainer(**options, callbacks=[losses])
    loader = shuffled(loading.pop("dataset", None) or regression(44), batch_size=4, **loading)
    stopped = False
    try:
        trainer.fit(module, loader, in_order(regression(22, seed=8), batch_size=4))
    except Stopped:
        stopped = True
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    rates = [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]
    return bits(module), losses.seen, metrics, rates, stopped


def _compare(rank: int, directory: str, case: str) -> list[str]:
    """What differs after a stop inside an epoch, at its end, and in the middle of a validation."""
    path = Path(directory) / f"rank{rank}"
    path.mkdir()
    whole = train(rank, case, MemoryLink(path))
    manual = 2 if "manually" in case else 1
    world, divide = dist.get_world_size(), 2 if "accumulation" in case else 1
    batches = math.ceil(math.ceil(44 / world) / 4)
    end = math.ceil(batches / divide) * manual
    middle = 2 if "twice" in case else end
    different = []
    ticks = {
        "inside an epoch": boundary_tick(manual if divide == 2 else 2 * manual),
        "at the end of an epoch": boundary_tick(end),
        "in a validation": evaluation_tick(middle, 0, 1),
    }
    if case == "loader processes":
        del ticks["at the end of an epoch"]
    for where, tick in ticks.items():
        commits: dict[int, Any] = {}
        first = train(rank, case, MemoryLink(path, commits, stop=StopAt(tick)))
        assert first[-1], f"{case}: did not stop {where}"
        resumed = train(rank, case, MemoryLink(path, commits))
        if first[1] + resumed[1] != whole[1]:
            different.append(f"losses, stopped {where}: {first[1]} + {resumed[1]} is not {whole[1]}")
        names = ("weights", "losses", "metrics", "learning rates")
        different += [f"{names[n]}, stopped {where}" for n in (0, 2, 3) if resumed[n] != whole[n]]
    return different


@pytest.mark.parametrize(("world_size", "case"), [*((2, case) for case in CASES), (3, "plain"), (3, "bf16-mixed")])
def test_resumed_bits_equal(tmp_path: Path, world_size: int, case: str) -> None:
    assert run_ranks(_compare, world_size, tmp_path, str(tmp_path), case) == [[]] * world_size


@pytest.mark.parametrize("case", ["unused parameters", "two optimizers, manually", "accumulation and clipping"])
def test_resumed_bits_equal_on_three_ranks(tmp_path: Path, case: str) -> None:
    """Where the order in which ranks' gradients are added up shows."""
    assert run_ranks(_compare, 3, tmp_path, str(tmp_path), case) == [[]] * 3
