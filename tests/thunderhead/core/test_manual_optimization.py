"""Manual optimisation: the module steps its optimizers itself, and the trainer counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from trainer_line import Line, fit, numbers, trainer

from thunderhead.exceptions import MisconfigurationException


class Two(Line):
    """Two weights, each with its optimizer, both stepped in each batch; ``how`` may do something else."""

    def __init__(self, how: Callable[[Two, Any, int], Any] | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.other = torch.nn.Parameter(torch.zeros(1))
        self.how = how or Two.both

    def both(self, batch: Any, batch_idx: int) -> None:
        """Step one, then the other with twice the gradient."""
        first, second = self.optimizers()
        first.zero_grad()
        self.manual_backward((self.weight * batch[0]).sum())
        first.step()
        second.zero_grad()
        self.manual_backward((2 * self.other * batch[0]).sum())
        second.step()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Whatever was asked for."""
        self.fed.append(batch[0][0].item())
        return self.how(self, batch, batch_idx)

    def configure_optimizers(self) -> Any:
        """SGD for each, with a scheduler for each."""
        optimizers = [SGD([self.weight], 1.0), SGD([self.other], 1.0)]
        return optimizers, [StepLR(optimizer, 1, gamma=0.5) for optimizer in optimizers]


def test_every_step_of_every_optimizer_counts() -> None:
    module = Two()
    made = fit(module, 1, 2, 3)
    assert (module.weight.item(), module.other.item()) == (-6, -12)
    assert made.global_step == 6
    assert [type(scheduler) for scheduler in module.lr_schedulers()] == [StepLR, StepLR]


def test_max_steps_counts_all_optimizers() -> None:
    module = Two()
    made = fit(module, 1, 2, 3, 4, max_steps=4, max_epochs=-1)
    assert (module.fed, made.global_step) == ([1, 2], 4)


def test_what_bypasses_the_trainer_is_not_counted() -> None:
    def how(module: Two, batch: Any, batch_idx: int) -> None:
        first, _ = module.optimizers()
        module.manual_backward((module.weight * batch[0]).sum())
        first.optimizer.step()
        module.optimizers(use_pl_optimizer=False)[1].step()

    module = Two(how)
    assert fit(module, 1, 2).global_step == 0
    assert module.weight.item() == -(1 + 1 + 2)


def test_a_closure_runs_once_per_step() -> None:
    def how(module: Two, batch: Any, batch_idx: int) -> None:
        first, _ = module.optimizers()

        def closure() -> Any:
            loss = (module.weight * batch[0]).sum()
            first.zero_grad()
            module.manual_backward(loss)
            return loss

        assert first.step(closure).item() == module.weight.item() + batch[0].item() or batch_idx

    module = Two(how)
    assert fit(module, 1, 2).global_step == 2
    assert module.weight.item() == -3


def test_a_closure_must_be_callable() -> None:
    with pytest.raises(MisconfigurationException, match=r"step\(closure=3\): the closure must be a function"):
        fit(Two(lambda module, batch, index: module.optimizers()[0].step(3)), 1)


def test_gradients_accumulate_until_they_are_cleared() -> None:
    def how(module: Two, batch: Any, batch_idx: int) -> None:
        first, _ = module.optimizers()
        with first.toggle_model(sync_grad=batch_idx % 2 == 1):
            module.manual_backward((module.weight * batch[0]).sum())
        if batch_idx % 2:
            first.step()
            first.zero_grad()

    module = Two(how)
    made = fit(module, 1, 2, 4, 8)
    assert (module.weight.item(), made.global_step) == (-15, 2)


def test_toggling_leaves_gradients_to_one_optimizer() -> None:
    seen: list[Any] = []

    def how(module: Two, batch: Any, batch_idx: int) -> None:
        first, second = module.optimizers()
        for way in (first.toggle_model, lambda: module.toggled_optimizer(second)):
            with way():
                seen.append((module.weight.requires_grad, module.other.requires_grad))
                module.manual_backward(((module.weight + module.other) * batch[0]).sum())
        assert module.weight.requires_grad
        assert module.other.requires_grad
        seen.append(
            [parameter.grad.item() for parameter in (module.weight, module.other) if parameter.grad is not None]
        )
        module.toggle_optimizer(first)
        assert not module.other.requires_grad
        module.untoggle_optimizer(first)
        assert module.other.requires_grad

    fit(Two(how), 3)
    assert seen == [(True, False), (False, True), [3.0, 3.0]]


def test_a_parameter_that_was_frozen_stays_so() -> None:
    def how(module: Two, batch: Any, batch_idx: int) -> None:
        module.other.requires_grad = False
        with module.optimizers()[0].toggle_model():
            assert module.weight.requires_grad
        assert not module.other.requires_grad
        with module.optimizers()[1].toggle_model():
            assert not module.other.requires_grad
            assert not module.weight.requires_grad
        assert module.weight.requires_grad

    fit(Two(how), 1)


def test_clipping_is_done_by_hand() -> None:
    def how(module: Two, batch: Any, batch_idx: int) -> None:
        first, _ = module.optimizers()
        first.zero_grad()
        module.manual_backward((module.weight * batch[0]).sum())
        module.clip_gradients(first, gradient_clip_val=0.5, gradient_clip_algorithm="value")
        first.step()

    module = Two(how)
    fit(module, 1, 0.25)
    assert module.weight.item() == -0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gradient_clip_val": 0.5}, "gradient_clip_val=0.5 with manual optimisation; call self.clip_gradients"),
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches=2 with manual optimisation; step the optimizer"),
    ],
)
def test_arguments_of_automatic_optimisation(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        fit(Two(), 1, **arguments)


def test_manual_backward_belongs_to_manual_optimisation() -> None:
    class Mixed(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.manual_backward(super().training_step(batch, batch_idx))

    with pytest.raises(MisconfigurationException, match="automatic_optimization = False in __init__"):
        fit(Mixed(), 1)


def test_outputs_are_free() -> None:
    """A dict needs no loss; what is neither dict, tensor nor None is refused."""
    fit(Two(lambda module, batch, index: {"anything": 1}), 1)
    fit(Two(lambda module, batch, index: torch.ones(1, requires_grad=True)), 1)
    with pytest.raises(MisconfigurationException, match="returned float; in manual optimisation"):
        fit(Two(lambda module, batch, index: 1.0), 1)


def test_state_of_all_optimizers_survives_a_file(tmp_path: Any) -> None:
    class Momentum(Two):
        def configure_optimizers(self) -> Any:
            return [SGD([self.weight], 1.0, momentum=0.5), SGD([self.other], 0.5, momentum=0.25)]

    whole = Momentum()
    fit(whole, 1, 2, 3, max_epochs=2)

    half = Momentum()
    fit(half, 1, 2, 3).save_checkpoint(tmp_path / "half.ckpt")
    resumed = Momentum()
    made = trainer(max_epochs=2)
    made.fit(resumed, numbers(1, 2, 3), ckpt_path=tmp_path / "half.ckpt")
    assert made.global_step == 12
    assert torch.equal(resumed.weight, whole.weight)
    assert torch.equal(resumed.other, whole.other)
    assert not torch.equal(resumed.other, half.other)
