"""A run inside a run: the outer one's bits are those without it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from trainer_models import QUIET

import thunderhead as th
from thunderhead.rng import capture_rng
from thunderhead.trainer.inside import fit_inside

STEPS = 10
MOMENTS = ("on_fit_start", "on_train_start", "on_train_epoch_end", "on_train_end")


class Net(th.LightningModule):
    """Dropout draws from the global generator, Adam and its scheduler keep state, the buffer counts batches."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
        self.register_buffer("seen", torch.zeros(()))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Mean square of the outputs."""
        self.seen += 1
        loss = self.layers(batch[0]).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Adam, whose rate falls at each step."""
        optimizer = torch.optim.Adam(self.parameters(), 0.05)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Inside(th.Callback):
    """Trains for some steps inside of a hook, and keeps what came of it."""

    def __init__(self, moment: str) -> None:
        self.steps: list[int] = []
        self.losses: list[float] = []
        self._done = False
        setattr(self, moment, self._train)

    def _train(self, trainer: th.Trainer, module: th.LightningModule) -> None:
        if self._done:
            return
        self._done = True
        before = trainer.global_step
        with fit_inside(trainer, max_steps=before + STEPS, max_epochs=-1, limit_val_batches=0) as loop:
            assert trainer.lightning_module is not module
            loop.run()
            self.steps.append(trainer.global_step - before)
            self.losses.append(trainer.callback_metrics["loss_step"].item())
            assert trainer.lightning_module.trainer is trainer
        assert trainer.lightning_module is module
        assert trainer.global_step == before


def data(generator: torch.Generator | None) -> DataLoader[Any]:
    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x), batch_size=4, shuffle=True, generator=generator)


def outcome(callbacks: list[th.Callback], *, own_generator: bool) -> dict[str, Any]:
    """Everything that a fit of two epochs leaves."""
    th.seed_everything(7, verbose=False)
    model = Net()
    loader = data(torch.Generator().manual_seed(3) if own_generator else None)
    made = th.Trainer(**{**QUIET, "max_epochs": 2}, callbacks=callbacks)
    made.fit(model, loader)
    return {
        "weights": model.state_dict(),
        "optimizers": made.optimizers[0].state_dict(),
        "schedulers": made.lr_scheduler_configs[0].scheduler.state_dict(),
        "metrics": made.callback_metrics,
        "position": (made.current_epoch, made.global_step),
        "random": capture_rng()["torch"],
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
def test_ten_steps_inside_of_a_hook_leave_no_trace(moment: str, own_generator: bool) -> None:
    inside = Inside(moment)
    found = outcome([inside], own_generator=own_generator)
    assert inside.steps == [STEPS]
    assert inside.losses[0] > 0
    undisturbed = outcome([], own_generator=own_generator)
    for name, value in undisturbed.items():
        assert same(found[name], value), name
