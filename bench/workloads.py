"""What is trained, alike on every side: small perceptrons, and a null model whose step is the framework alone.

Every side trains the module that :func:`module_class` makes from its own base class, on the same batches in memory, so
that what differs is the framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

FEATURES = 32
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Workload:
    """A model and its batches.

    Attributes:
        name: for the table.
        null: nothing is computed: forward gives a kept tensor, backward and the optimizer do nothing.
        width: of the hidden layers.
        depth: number of hidden layers.
        batch_size: samples a batch.
    """

    name: str
    null: bool = False
    width: int = 1
    depth: int = 1
    batch_size: int = 16


NULL = Workload("null model", null=True)
TINY = Workload("tiny MLP", width=32, depth=2)
LARGER = Workload("step of 5 ms and more", width=512, depth=5, batch_size=64)


class NullOptimizer(torch.optim.SGD):
    """Evaluates the closure, changes nothing."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return closure() if closure is not None else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing to reset."""

    # Else torch wraps it for its profiler, which takes longer than what is measured here and is no framework's doing.
    step.hooked = True  # type: ignore[attr-defined]


def network(work: Workload) -> nn.Module:
    """A perceptron of the workload's size, with the same parameters on every side."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    size = FEATURES
    for _ in range(work.depth):
        layers += [nn.Linear(size, work.width), nn.ReLU()]
        size = work.width
    return nn.Sequential(*layers, nn.Linear(size, 1))


def optimizer(work: Workload, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """SGD with momentum; for the null model one that does nothing."""
    if work.null:
        return NullOptimizer(parameters, lr=1e-4)
    return torch.optim.SGD(parameters, lr=1e-4, momentum=0.9)


def batches(work: Workload, count: int) -> list[Batch]:
    """``count`` batches (x: [batch, 32], y: [batch, 1]), eight different ones in turn."""
    torch.manual_seed(1)
    pool = [(torch.randn(work.batch_size, FEATURES), torch.randn(work.batch_size, 1)) for _ in range(8)]
    return [pool[i % len(pool)] for i in range(count)]


class RawLoop:
    """Training without any framework, in the order of calls that the trainers' contract has.

    Gradients are cleared between forward and backward, as there. Clearing them before forward is a few microseconds
    quicker, since memory is used again sooner; that is the order's doing, not a framework's.
    """

    def __init__(self, work: Workload) -> None:
        self._null = work.null
        self._kept = torch.zeros((), requires_grad=True)
        self._net = network(work)
        self._optimizer = optimizer(work, self._net.parameters())

    def __call__(self, items: Iterable[Batch]) -> None:
        """Train on each batch once."""
        net, step = self._net, self._optimizer
        if self._null:
            for _ in items:
                _ = self._kept
                step.zero_grad()
                step.step()
            return
        for x, y in items:
            loss = nn.functional.mse_loss(net(x), y)
            step.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
            step.step()


def module_class(base: type[Any], work: Workload, logged: int) -> type[Any]:
    """A module of ``base`` (either framework's LightningModule) that logs ``logged`` values on step and epoch."""
    names = [f"value_{i}" for i in range(logged)]

    class Module(base):  # type: ignore[misc]  # the base is an argument
        def __init__(self) -> None:
            super().__init__()
            self.net = network(work)
            self.kept = torch.zeros((), requires_grad=True)
            self.value = torch.tensor(0.5)

        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            loss = self.kept if work.null else nn.functional.mse_loss(self.net(batch[0]), batch[1])
            for name in names:
                self.log(name, self.value, on_step=True, on_epoch=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer(work, self.parameters())

        if work.null:

            def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
                """Nothing to differentiate."""

    return Module
