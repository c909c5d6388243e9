"""How a module is optimised: the hooks of automatic optimisation, and the calls of manual optimisation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor
from torch.optim import Optimizer

from thunderhead.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from thunderhead.core.optimizer import LightningOptimizer
    from thunderhead.trainer.trainer import Trainer


Value = TypeVar("Value")


class Optimizing:
    """Optimizers of a module, and what happens around their steps."""

    if TYPE_CHECKING:
        _automatic_optimization: bool

        @property
        def trainer(self) -> Trainer:
            """The trainer the module is attached to."""

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The optimizer, or the list of them.

        Args:
            use_pl_optimizer: wrapped, so that ``step`` counts and handles precision and DDP; else torch's own.
        """
        trainer = self.trainer
        found: list[Any] = trainer._training.optimizers.wrapped if use_pl_optimizer else trainer.optimizers
        return found[0] if len(found) == 1 else list(found)

    def lr_schedulers(self) -> Any:
        """The scheduler, the list of them, or None."""
        found = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        return None if not found else found[0] if len(found) == 1 else found

    def manual_backward(self, loss: Tensor, *args: object, **kwargs: object) -> None:
        """Backward for manual optimisation; handles precision and DDP.

        Raises:
            MisconfigurationException: the module uses automatic optimisation.
        """
        if self._automatic_optimization:
            raise MisconfigurationException(
                f"manual_backward in {type(self).__name__}, which uses automatic optimisation; "
                "set self.automatic_optimization = False in __init__"
            )
        trainer = self.trainer
        steps = trainer._training.optimizers.steps
        if steps is None or steps.run is not trainer._run:
            steps = trainer._steps_outside_of_fit()
        steps.manual_backward(loss, *args, **kwargs)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips gradients before a step; called even when no clipping is asked for."""
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def clip_gradients(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the gradients of ``optimizer``; arguments left out are the trainer's.

        Raises:
            MisconfigurationException: an argument contradicts the trainer's, or the algorithm does not exist.
        """
        trainer = self.trainer
        value = _agree("gradient_clip_val", gradient_clip_val, trainer.gradient_clip_val)
        algorithm = (
            _agree("gradient_clip_algorithm", gradient_clip_algorithm, trainer.gradient_clip_algorithm) or "norm"
        )
        if value is None:
            return
        trainer.strategy.clip_gradients(optimizer, value, algorithm)

    def toggle_optimizer(self, optimizer: Optimizer | LightningOptimizer) -> None:
        """Let only this optimizer's parameters require gradients, until ``untoggle_optimizer``."""
        state: dict[Any, bool] = {}
        for other in self.trainer.optimizers:
            for group in other.param_groups:
                for parameter in group["params"]:
                    if parameter not in state:
                        state[parameter] = parameter.requires_grad
                        parameter.requires_grad = False
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad = state[parameter]
        self._toggled_requires_grad = state

    def untoggle_optimizer(self, optimizer: Optimizer | LightningOptimizer) -> None:
        """Undo ``toggle_optimizer``."""
        own = {parameter for group in optimizer.param_groups for parameter in group["params"]}
        state: dict[Any, bool] = self.__dict__.pop("_toggled_requires_grad", {})
        for parameter, required in state.items():
            if parameter not in own:
                parameter.requires_grad = required

    @contextmanager
    def toggled_optimizer(self, optimizer: Optimizer | LightningOptimizer) -> Iterator[None]:
        """``toggle_optimizer`` and back, as a context."""
        self.toggle_optimizer(optimizer)
        try:
            yield
        finally:
            self.untoggle_optimizer(optimizer)


def _agree(name: str, asked: Value | None, configured: Value | None) -> Value | None:
    if asked is None:
        return configured
    if configured is not None and asked != configured:
        raise MisconfigurationException(
            f"{name}={asked!r} was passed to clip_gradients, but the Trainer has {name}={configured!r}; pass only one"
        )
    return asked
