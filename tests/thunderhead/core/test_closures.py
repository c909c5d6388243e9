"""Closures: the whole of a step runs inside ``optimizer.step``, and what it returned reaches the batch's end."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam
from trainer_line import Line, fit, numbers, trainer

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException


class Quadratic(Line):
    """Minimum at the batch's mean."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Squared distance."""
        self.fed.append(batch[0][0].item())
        return (self.weight - batch[0].mean()).square().sum()


def test_lbfgs_evaluates_as_often_as_it_likes() -> None:
    """Bit for bit what torch's optimizer does by itself."""

    def make(parameters: Any) -> torch.optim.LBFGS:
        return torch.optim.LBFGS(parameters, lr=0.3, max_iter=4)

    module = Quadratic(lambda module: make(module.parameters()))
    made = fit(module, 3, 5)

    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = make([weight])
    evaluations = 0
    for number in (3.0, 5.0):

        def closure(number: float = number) -> Any:
            nonlocal evaluations
            evaluations += 1
            optimizer.zero_grad()
            loss = (weight - number).square().sum()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch's
    assert torch.equal(module.weight, weight)
    assert len(module.fed) == evaluations > 2
    assert made.global_step == 2


def test_the_closure_trains() -> None:
    """training_step runs inside optimizer_step; skipping the closure skips the batch."""

    class Warming(Line):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            assert len(self.fed) == batch_idx
            for group in optimizer.param_groups:
                group["lr"] = 0.5 * (batch_idx + 1)
            optimizer.step(closure=optimizer_closure)
            assert len(self.fed) == batch_idx + 1

    module = Warming()
    fit(module, 2, 4)
    assert module.weight.item() == -(0.5 * 2 + 1.0 * 4)


class Idle(SGD):
    """Never looks at its closure."""

    def step(self, closure: Any = None) -> Any:
        """Nothing."""


@pytest.mark.parametrize("where", ["the hook", "the optimizer"])
def test_a_closure_that_is_left_out_is_noticed(where: str) -> None:
    """Else the batch would be lost without a word."""

    class Forgetting(Line):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            if where == "the optimizer" or batch_idx == 0:
                optimizer.step(closure=optimizer_closure)

    kind = Idle if where == "the optimizer" else SGD
    module = Forgetting(lambda module: kind(module.parameters(), 1.0))
    with pytest.raises(
        MisconfigurationException, match=rf"Forgetting with {kind.__name__} .*closure=optimizer_closure"
    ):
        fit(module, 1, 2)
    assert module.fed == ([] if where == "the optimizer" else [1])


def test_a_hook_may_call_the_closure_without_stepping() -> None:
    class Every(Line):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            if batch_idx % 2:
                optimizer.step(closure=optimizer_closure)
            else:
                optimizer_closure()

    module = Every()
    fit(module, 1, 2, 3, 4)
    assert (module.fed, module.weight.item()) == ([1, 2, 3, 4], -6)


def test_an_optimizer_of_ones_own_gets_the_closure() -> None:
    class Twice(SGD):
        def step(self, closure: Any = None) -> Any:
            closure()
            return super().step(closure)

    module = Line(lambda module: Twice(module.parameters(), 1.0))
    fit(module, 2, 4)
    assert module.fed == [2, 2, 4, 4]
    assert module.weight.item() == -6


def test_a_batch_without_loss_is_skipped_with_a_word() -> None:
    class Skipping(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == 1 else loss

    module = Skipping()
    with pytest.warns(UserWarning, match="training_step returned None"):
        made = fit(module, 1, 2, 4)
    assert (module.weight.item(), made.global_step) == (-5, 3)


@pytest.mark.parametrize(
    ("output", "message"),
    [({"losses": 1}, r"a dict with keys \['losses'\]"), (1.0, "a float"), ([torch.ones(1)], "a list")],
)
def test_what_is_no_loss(output: Any, message: str) -> None:
    class Wrong(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return output

    with pytest.raises(MisconfigurationException, match=f"training_step returned {message}.*'loss'"):
        fit(Wrong(), 1)


def test_outputs_of_a_step_reach_its_end() -> None:
    seen: list[Any] = []

    class Keeping(th.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append(outputs)

    class Telling(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": super().training_step(batch, batch_idx) + 6, "extra": batch_idx}

    trainer(Keeping(), accumulate_grad_batches=2).fit(Telling(), numbers(1, 1))
    assert [(output["loss"].item(), output["extra"], output["loss"].requires_grad) for output in seen] == [
        (3, 0, False),
        (3, 1, False),
    ]


def test_rates_of_adam_are_its_own() -> None:
    """The wrapped optimizer is the torch one in all but step."""
    module = Line(lambda module: Adam(module.parameters(), 0.25))
    fit(module, 1)
    wrapped = module.optimizers()
    assert wrapped.param_groups[0]["lr"] == 0.25
    wrapped.param_groups[0]["lr"] = 0.5
    assert wrapped.optimizer.param_groups[0]["lr"] == 0.5
    assert wrapped.state_dict() == wrapped.optimizer.state_dict()


@pytest.mark.parametrize("manual", [False, True])
def test_a_step_that_returned_none_has_no_outputs(manual: bool) -> None:
    seen: list[Any] = []

    class Keeping(th.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append(outputs)

    class Skipping(Line):
        automatic_optimization = not manual

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == 1 else loss

    with nullcontext() if manual else pytest.warns(UserWarning, match="training_step returned None"):
        trainer(Keeping()).fit(Skipping(), numbers(1, 2, 3))
    assert seen == [{"loss": torch.tensor(0.0)}, {}, {"loss": torch.tensor(0.0 if manual else -3.0)}]
