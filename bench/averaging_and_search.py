"""What averaging weights costs beside torch's own AveragedModel, and what a learning rate search costs beside steps."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch.utils.data import DataLoader

import thunderhead as th
from bench.report import Result, row
from thunderhead.callbacks import EMAWeightAveraging, WeightAveraging
from thunderhead.tuner import Tuner

_QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
_DECAY = 0.99
_SEARCHED = 100


class Layers(th.LightningModule):
    """Enough of them that an average takes some tenths of a millisecond, and a step some milliseconds."""

    def __init__(self, width: int = 256, depth: int = 12) -> None:
        super().__init__()
        self.lr = 0.01
        layers = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layers(batch).square().mean()  # type: ignore[no-any-return]  # a tensor

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def run(*, quick: bool) -> list[Result]:
    """Both figures."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [_averaging(pairs=20 if quick else 100), _search(pairs=3 if quick else 15)]


def _averaging(*, pairs: int) -> Result:
    """The hook with all that it does, against the update alone, on one module, in pairs of some calls each."""
    sides: tuple[tuple[str, Callable[[], WeightAveraging], dict[str, Any]], ...] = (
        ("WeightAveraging", WeightAveraging, {}),
        ("EMAWeightAveraging", lambda: EMAWeightAveraging(decay=_DECAY), {"avg_fn": get_ema_avg_fn(decay=_DECAY)}),  # type: ignore[no-untyped-call]  # torch's
    )
    rows = []
    for name, make, options in sides:
        ratios = _ratios(make(), options, pairs)
        rows.append(row(f"{name} ÷ AveragedModel", ratios, at_most=1.1))
    return Result(
        name="averaging",
        title="An update of the average, as a ratio of torch's AveragedModel alone",
        how="on_train_batch_end with a step done, against update_parameters, in turn, ten calls each; 26 tensors.",
        rows=rows,
    )


def _ratios(callback: WeightAveraging, options: dict[str, Any], pairs: int) -> list[float]:
    module = Layers()
    trainer = th.Trainer(**_QUIET, max_steps=1, callbacks=callback)
    trainer.fit(module, _loader(1))
    plain = AveragedModel(module, use_buffers=True, **options)
    plain.update_parameters(module)
    position = trainer._training.position

    def ours() -> None:
        position.step += 1
        callback.on_train_batch_end(trainer, module, None, None, 0)

    def torchs() -> None:
        plain.update_parameters(module)

    return [one / other for one, other in _in_turn(ours, torchs, calls=10, pairs=pairs)]


def _search(*, pairs: int) -> Result:
    """A whole search, with its set-up, against as many steps of a raw loop."""
    module, data = Layers(), _loader(_SEARCHED)
    again = Layers()
    trainer = th.Trainer(**_QUIET, max_epochs=1)

    def search() -> None:
        found = Tuner(trainer).lr_find(module, data, num_training=_SEARCHED, max_lr=1e-3, update_attr=False)
        assert found is not None
        assert len(found.results["loss"]) == _SEARCHED

    def steps() -> None:
        optimizer = torch.optim.SGD(again.parameters(), lr=1e-6)
        for index, batch in enumerate(data):
            loss = again.training_step(batch, index)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
            optimizer.step()

    ratios = [one / other for one, other in _in_turn(search, steps, calls=1, pairs=pairs)]
    return Result(
        name="averaging",
        title=f"A learning rate search of {_SEARCHED} steps, as a ratio of {_SEARCHED} steps of a raw loop",
        how="Tuner.lr_find with all of its set-up, by one Trainer, which is as before after each; in turn.",
        rows=[row("lr_find ÷ raw steps", ratios, at_most=1.1)],
    )


def _loader(batches: int) -> DataLoader[torch.Tensor]:
    return DataLoader([torch.randn(64, 256) for _ in range(batches)], batch_size=None)  # type: ignore[arg-type]  # a list


def _in_turn(
    one: Callable[[], None], other: Callable[[], None], *, calls: int, pairs: int
) -> list[tuple[float, float]]:
    """CPU seconds of both, pair by pair, every other pair the other way round; after some calls that do not count."""
    for _ in range(2):
        one()
        other()
    found = []
    for number in range(pairs):
        first, second = (one, other) if number % 2 == 0 else (other, one)
        times = {side: _seconds(side, calls) for side in (first, second)}
        found.append((times[one], times[other]))
    return found


def _seconds(call: Callable[[], None], calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        call()
    return time.process_time() - began
