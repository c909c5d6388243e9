"""Mixed precision in manual optimisation equals loops written by hand, however weights change inside a step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from trainer_models import QUIET

import thunderhead as th

STEPS = 4
Networks = tuple[nn.Linear, nn.Linear]
Forward = Callable[[Callable[[], Tensor]], Tensor]
Body = Callable[[Any, Tensor], None]


class Hand:
    """What a loop of one's own has in the place of the module: every forward in an autocast of its own."""

    def __init__(self, networks: Networks, optimizers: list[Any]) -> None:
        self.first, self.second = networks
        self.opts = optimizers

    def forward(self, compute: Callable[[], Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return compute()

    def back(self, loss: Tensor) -> None:
        loss.backward()


class Manual(th.LightningModule):
    """The same as a module: the trainer's autocast is around the whole step."""

    def __init__(self, networks: Networks, body: Body, kind: str, nested: bool) -> None:
        super().__init__()
        self.first, self.second = networks
        self.automatic_optimization = False
        self.body, self.kind, self.nested = body, kind, nested

    @property
    def opts(self) -> list[Any]:
        return list(self.optimizers())

    def forward(self, compute: Callable[[], Tensor]) -> Tensor:
        if self.nested:
            with torch.autocast("cpu", torch.bfloat16):
                return compute()
        return compute()

    def back(self, loss: Tensor) -> None:
        self.manual_backward(loss)

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        self.body(self, batch)

    def configure_optimizers(self) -> Any:
        return optimizers((self.first, self.second), self.kind)

    def train_dataloader(self) -> Any:
        return DataLoader(list(batches()), batch_size=None)


def batches() -> Iterator[Tensor]:
    given = torch.Generator().manual_seed(5)
    for _ in range(STEPS):
        yield torch.randn(6, 4, generator=given)


def networks() -> Networks:
    torch.manual_seed(2)
    return nn.Linear(4, 4), nn.Linear(4, 1)


def optimizers(pair: Networks, kind: str) -> list[Any]:
    if kind == "LBFGS":
        return [torch.optim.LBFGS(network.parameters(), lr=0.5, max_iter=3) for network in pair]
    return [torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9) for network in pair]


def adversaries(it: Any, batch: Tensor) -> None:
    """A discriminator is taught, then a generator, which meets the new discriminator."""
    generate, judge = it.opts
    fake = it.forward(lambda: it.first(batch))
    loss = it.forward(lambda: functional.softplus(it.second(fake.detach())).mean())
    loss = loss + it.forward(lambda: functional.softplus(-it.second(batch)).mean())
    judge.zero_grad()
    it.back(loss)
    judge.step()
    generate.zero_grad()
    it.back(it.forward(lambda: functional.softplus(-it.second(it.first(batch))).mean()))
    generate.step()


def frozen(it: Any, batch: Tensor) -> None:
    """First each with the other's gradients switched off."""
    for own, other, optimizer in ((it.second, it.first, it.opts[1]), (it.first, it.second, it.opts[0])):
        other.requires_grad_(False)
        optimizer.zero_grad()
        it.back(it.forward(lambda: it.second(it.first(batch)).square().mean()))
        optimizer.step()
        other.requires_grad_(True)
        assert own.weight.grad is not None


def looked_at_first(it: Any, batch: Tensor) -> None:
    """The same weights without gradients, as a teacher, then with."""
    with torch.no_grad():
        target = it.forward(lambda: it.second(it.first(batch)))
    for optimizer in it.opts:
        optimizer.zero_grad()
    it.back(it.forward(lambda: (it.second(it.first(-batch)) - target).square().mean()))
    for optimizer in it.opts:
        optimizer.step()


def several_steps(it: Any, batch: Tensor) -> None:
    """Two steps, of gradients of two forwards each."""
    for _ in range(2):
        it.opts[0].zero_grad()
        for part in batch.chunk(2):
            it.back(it.forward(lambda part=part: it.second(it.first(part)).square().mean()))  # type: ignore[misc]
        it.opts[0].step()


def averaged(it: Any, batch: Tensor) -> None:
    """Averaged weights are swapped in between, and back."""
    before = copy.deepcopy(it.first.state_dict())
    it.opts[0].zero_grad()
    it.back(it.forward(lambda: it.second(it.first(batch)).square().mean()))
    it.opts[0].step()
    after = copy.deepcopy(it.first.state_dict())
    it.first.load_state_dict({name: 0.5 * before[name] + 0.5 * after[name] for name in before})
    with torch.no_grad():
        target = it.forward(lambda: it.first(batch))
    it.first.load_state_dict(after)
    it.opts[0].zero_grad()
    it.back(it.forward(lambda: (it.first(batch) - target + 1).square().mean()))
    it.opts[0].step()


def by_closure(it: Any, batch: Tensor) -> None:
    """The optimizer evaluates it as often as it likes."""
    for optimizer in it.opts:

        def evaluate(optimizer: Any = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = it.forward(lambda: (it.second(it.first(batch)) - 1).square().mean())
            it.back(loss)
            return loss

        optimizer.step(closure=evaluate)


def unknown_to_the_trainer(it: Any, batch: Tensor) -> None:
    """Torch's own optimizer steps, and a weight is written by hand."""
    optimizer = getattr(it.opts[0], "optimizer", it.opts[0])
    optimizer.zero_grad()
    it.back(it.forward(lambda: it.second(it.first(batch)).square().mean()))
    optimizer.step()
    with torch.no_grad():
        it.second.weight.mul_(0.5)
    optimizer.zero_grad()
    it.back(it.forward(lambda: it.second(it.first(batch)).square().mean()))
    optimizer.step()


def weights(pair: Networks) -> list[Any]:
    return [parameter.tolist() for network in pair for parameter in network.parameters()]


# A cache that the script itself asks for, by an autocast inside ours, can be known to be stale only where we step.
CASES = [
    *((body, "SGD", nested) for body in (adversaries, frozen, several_steps, by_closure) for nested in (False, True)),
    *((body, "SGD", False) for body in (looked_at_first, averaged, unknown_to_the_trainer)),
    *((by_closure, "LBFGS", nested) for nested in (False, True)),
]


@pytest.mark.parametrize(("body", "kind", "nested"), CASES)
def test_as_by_hand(body: Body, kind: str, nested: bool) -> None:
    own = networks()
    hand = Hand(own, optimizers(own, kind))
    for batch in batches():
        body(hand, batch)
    pair = networks()
    th.Trainer(**QUIET, max_epochs=1, precision="bf16-mixed").fit(Manual(pair, body, kind, nested))
    assert weights(pair) == weights(own)


def test_automatic_optimisation_after_a_look_without_gradients() -> None:
    class Teaching(th.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = networks()[0]

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            with torch.no_grad():
                target = self.net(batch)
            return functional.mse_loss(self.net(-batch), target)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.5)

    net = Teaching()
    before = net.net.weight.tolist()
    th.Trainer(**QUIET, max_epochs=1, precision="bf16-mixed").fit(net, DataLoader(list(batches()), batch_size=None))
    assert net.net.weight.tolist() != before
