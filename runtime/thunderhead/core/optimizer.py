"""The optimizer as a module sees it: torch's own, whose ``step`` also counts and handles precision and DDP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from thunderhead.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


class LightningOptimizer:
    """Wraps a torch optimizer; everything but ``step`` is the wrapped one's.

    Attributes:
        optimizer: the torch optimizer itself, for what must bypass the trainer.
    """

    def __init__(self, optimizer: Optimizer, trainer: Trainer, count: Callable[[], None]) -> None:
        self._optimizer = optimizer
        self._trainer = trainer
        self._count = count
        # isinstance(self, Adam) holds, as user code tests for it.
        self.__class__ = type("Lightning" + type(optimizer).__name__, (type(self), type(optimizer)), {})

    @property
    def optimizer(self) -> Optimizer:
        """The torch optimizer itself."""
        return self._optimizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_optimizer"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("_optimizer", "_trainer", "_count", "__class__"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._optimizer, name, value)

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """One optimizer step; in manual optimisation it adds one to ``global_step``.

        Args:
            closure: recomputes the loss, for optimizers that evaluate it themselves.
            **kwargs: passed to the torch optimizer's ``step``.

        Raises:
            MisconfigurationException: the closure cannot be called.
        """
        if closure is not None and not callable(closure):
            raise MisconfigurationException(
                f"optimizer.step(closure={closure!r}): the closure must be a function without arguments"
            )
        result = self._trainer.precision_plugin.optimizer_step(
            self._optimizer, self._trainer._before_optimizer_step, closure, **kwargs
        )
        self._count()
        return result

    def zero_grad(self, *args: Any, **kwargs: Any) -> None:
        """Clears the gradients."""
        self._optimizer.zero_grad(*args, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """State of the torch optimizer."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the torch optimizer."""
        self._optimizer.load_state_dict(state_dict)

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Iterator[None]:
        """Only this optimizer's parameters require gradients inside; with ``sync_grad=False`` DDP does not reduce them.

        For gradient accumulation in manual optimisation.
        """
        trainer = self._trainer
        blocked = nullcontext() if sync_grad else trainer.strategy.no_sync()
        with blocked, trainer.lightning_module.toggled_optimizer(self):
            yield

    def __repr__(self) -> str:
        return f"Lightning{self._optimizer!r}"
