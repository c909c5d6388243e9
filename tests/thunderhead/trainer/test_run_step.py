"""What arguments make of a step: accumulation, clipping, precision."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_line import Line, numbers, run, trainer

from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers import CSVLogger
from thunderhead.precision import make_precision
from thunderhead.warning import PossibleUserWarning


def test_accumulation_steps_on_the_last_batch_too() -> None:
    """The loss is divided by k always, also for the shorter tail; windows start with each epoch."""
    weights: list[float] = []

    class Watching(Line):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            weights.append(self.weight.item())

    _, made = run(Watching(), accumulate_grad_batches=4, max_epochs=2, limit_train_batches=6)
    first = [0, 0, 0, -10 / 4, -10 / 4, -10 / 4 - 11 / 4]
    assert weights == [*first, *(first[-1] + value for value in first)]
    assert made.global_step == 4


RARE = (
    "an epoch has {0} training steps, fewer than log_every_n_steps={1}: loggers get no step values in most epochs; to "
    "see some of each, pass Trainer(log_every_n_steps={0}) or less"
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"log_every_n_steps": 11}, (10, 11)),
        ({"limit_train_batches": 7}, (7, 50)),
        ({"log_every_n_steps": 4, "accumulate_grad_batches": 3, "limit_train_batches": 7}, (3, 4)),
        ({"log_every_n_steps": 10}, None),
        ({"log_every_n_steps": 4, "accumulate_grad_batches": 3}, None),
        ({"log_every_n_steps": 0}, None),
        ({"logger": False}, None),
        ({"fast_dev_run": True}, None),
        ({"train": iter([]), "limit_train_batches": 0}, None),
        ({"train": (batch for batch in numbers(1, 2)), "max_steps": 2}, None),
    ],
)
def test_an_interval_of_records_that_is_longer_than_an_epoch(
    arguments: dict[str, Any], said: tuple[int, int] | None, tmp_path: Path
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(**{"logger": CSVLogger(tmp_path), "limit_val_batches": 0, **arguments})
    assert [str(one.message) for one in caught] == ([] if said is None else [RARE.format(*said)])
    assert all(one.category is PossibleUserWarning for one in caught)


class Gradients(Line):
    """Two weights with gradients of 3 and -4; keeps those that the optimizer got."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.got: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Whatever the batch."""
        return (self.weight * torch.tensor([3.0, -4.0])).sum()

    def on_before_zero_grad(self, optimizer: Any) -> None:
        """The gradients of the step before."""
        if self.weight.grad is not None:
            self.got = self.weight.grad.tolist()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [3, -4]),
        ({"gradient_clip_val": 0}, [3, -4]),
        ({"gradient_clip_val": -1}, [3, -4]),
        ({"gradient_clip_val": 1}, [0.6, -0.8]),
        ({"gradient_clip_val": 9.0}, [3, -4]),
        ({"gradient_clip_val": 2.5, "gradient_clip_algorithm": "norm"}, [1.5, -2]),
        ({"gradient_clip_val": 3.5, "gradient_clip_algorithm": "value"}, [3, -3.5]),
    ],
)
def test_clipping(arguments: dict[str, Any], expected: list[float]) -> None:
    module = Gradients()
    run(module, limit_train_batches=2, **arguments)
    assert module.got == pytest.approx(expected, rel=1e-5)


def test_clipping_of_ones_own() -> None:
    class Own(Gradients):
        def configure_gradient_clipping(self, optimizer: Any, *arguments: Any) -> None:
            assert arguments == (2.0, "value")
            self.weight.grad.mul_(2)  # type: ignore[union-attr]  # there is one

    module = Own()
    run(module, limit_train_batches=2, gradient_clip_val=2.0, gradient_clip_algorithm="value")
    assert module.got == [6, -8]


@pytest.mark.parametrize(
    ("given", "name", "weights", "activations"),
    [
        (None, "32-true", torch.float32, torch.float32),
        (32, "32-true", torch.float32, torch.float32),
        ("bf16", "bf16-mixed", torch.float32, torch.bfloat16),
        ("bf16-mixed", "bf16-mixed", torch.float32, torch.bfloat16),
        ("64", "64-true", torch.float64, torch.float64),
        ("bf16-true", "bf16-true", torch.bfloat16, torch.bfloat16),
    ],
)
def test_precision(given: Any, name: str, weights: torch.dtype, activations: torch.dtype) -> None:
    class Typed(Line):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.types: set[torch.dtype] = set()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            found = self.layer(batch[0].unsqueeze(1))
            self.types.add(found.dtype)
            return found.sum()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.types.add(self.layer(batch[0].unsqueeze(1)).dtype)

    module = Typed()
    made = run(module, precision=given)[1]
    assert (made.precision, module.layer.weight.dtype, module.types) == (name, weights, {activations})
    assert torch.get_default_dtype() == torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_precision_is_said_once() -> None:
    assert trainer(plugins=make_precision("64-true", "cpu")).precision == "64-true"
    with pytest.raises(MisconfigurationException, match="both set the precision; pass one"):
        trainer(precision="32-true", plugins=[make_precision("64-true", "cpu")])
