"""CPU time that Fabric adds to a step of a loop by hand: ours and Lightning's."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from bench.pairs import PairedBatches, Pairs
from bench.report import Result, row
from bench.sides import OURS, has_lightning
from bench.workloads import NULL, Batch, NullOptimizer, batches

_STEPS = 200
_LIGHTNING = "lightning.fabric"


class Least(nn.Module):
    """As little as has a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """The weight, as a loss."""
        return self.weight * 1.0


def run(*, quick: bool) -> list[Result]:
    """Both, in turn."""
    torch.set_num_threads(1)
    sides = [OURS, *([_LIGHTNING] if has_lightning() else [])]
    found: dict[str, list[Pairs]] = {side: [] for side in sides}
    for number in range(4 if quick else 8):
        for side in sides if number % 2 == 0 else reversed(sides):
            loader = PairedBatches(batches(NULL, 8), ByHandLeast(), steps=_STEPS, pairs=40 if quick else 100)
            _in_fabric(side, loader)
            found[side].append(loader.measured)
    rows = [row(side, [value for run in runs for value in run.added_us()]) for side, runs in found.items()]
    if has_lightning():
        middles = [[statistics.median(run.added_us()) for run in found[side]] for side in (_LIGHTNING, OURS)]
        rows.append(row("Lightning's ÷ ours", [a / b for a, b in zip(*middles, strict=True)], at_least=5.0, digits=1))
    return [
        Result(
            name="fabric-cost",
            title="CPU time that Fabric adds to a step, µs",
            how=(
                f"Blocks of {_STEPS} steps of a module with one weight, against the loop by hand, in pairs inside one "
                "run: the module's call, zero_grad, backward and step."
            ),
            rows=rows,
        )
    ]


class ByHandLeast:
    """The same without a Fabric."""

    def __init__(self) -> None:
        self._net = Least()
        self._optimizer = NullOptimizer(self._net.parameters(), lr=0.1)

    def __call__(self, block: Sequence[Batch]) -> None:
        net, step = self._net, self._optimizer
        for x, _ in block:
            loss = net(x)
            step.zero_grad()
            loss.backward()
            step.step()


def _in_fabric(package: str, loader: Iterable[Batch]) -> None:
    made = importlib.import_module(package).Fabric(accelerator="cpu", devices=1)
    plain = Least()
    net, step = made.setup(plain, NullOptimizer(plain.parameters(), lr=0.1))
    for x, _ in loader:
        loss = net(x)
        step.zero_grad()
        made.backward(loss)
        step.step()
