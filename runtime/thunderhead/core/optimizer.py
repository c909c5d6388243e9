"""The optimizer as a module sees it: torch's own, whose ``step`` also counts and handles precision and DDP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, SupportsIndex

from torch import Tensor
from torch.optim import Optimizer

from thunderhead.exceptions import MisconfigurationException


class StepsOptimizers(Protocol):
    """A number format, as far as it steps; see ``thunderhead.precision``."""

    def optimizer_step(
        self,
        optimizer: Optimizer,
        before: Callable[[Optimizer], None],
        closure: Callable[[], Any] | None,
        **kwargs: object,
    ) -> Tensor | float | None:
        """The step, with what must happen before it in its place."""


class HoldsBack(Protocol):
    """A strategy, as far as it reduces gradients."""

    def no_sync(self) -> AbstractContextManager[Any]:
        """They stay this rank's own inside."""


class Stepping(Protocol):
    """What is done around a step; see ``thunderhead.run.optimizers``."""

    @property
    def precision(self) -> StepsOptimizers:
        """Its number format steps the optimizer."""

    @property
    def strategy(self) -> HoldsBack:
        """It may keep gradients from being reduced."""

    @property
    def module(self) -> Any:
        """Whose parameters are optimised."""

    def before(self, optimizer: Optimizer) -> None:
        """Between backward and the step."""

    def after(self) -> None:
        """The step is done."""


class Alone:
    """Around a step of an optimizer that belongs to no run nothing is done; it is the precision and so on of itself."""

    @property
    def precision(self) -> Alone:
        return self

    @property
    def strategy(self) -> Alone:
        return self

    @property
    def module(self) -> Alone:
        return self

    def optimizer_step(
        self,
        optimizer: Optimizer,
        before: Callable[[Optimizer], None],
        closure: Callable[[], Any] | None,
        **kwargs: Any,
    ) -> Tensor | float | None:
        """The step itself."""
        return optimizer.step(**kwargs) if closure is None else optimizer.step(closure, **kwargs)

    def no_sync(self) -> AbstractContextManager[Any]:
        """Nobody reduces gradients."""
        return nullcontext()

    def toggled_optimizer(self, optimizer: object) -> AbstractContextManager[Any]:
        """Nobody knows of other optimizers."""
        return nullcontext()

    def before(self, optimizer: Optimizer) -> None: ...

    def after(self) -> None: ...


class LightningOptimizer:
    """Wraps a torch optimizer; everything but ``step`` is the wrapped one's.

    Attributes:
        optimizer: the torch optimizer itself, for what must bypass the trainer.

    Args:
        optimizer: what is wrapped.
        steps: what is done around a step; by default nothing, as for one that belongs to no run.
    """

    def __init__(self, optimizer: Optimizer, steps: Stepping | None = None) -> None:
        self._optimizer = optimizer
        self._steps = Alone() if steps is None else steps
        # isinstance(self, Adam) holds, as user code tests for it.
        self.__class__ = type("Lightning" + type(optimizer).__name__, (type(self), type(optimizer)), {})

    @property
    def optimizer(self) -> Optimizer:
        """The torch optimizer itself."""
        return self._optimizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_optimizer"], name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("_optimizer", "_steps", "__class__"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._optimizer, name, value)

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: object) -> Tensor | float | None:
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
        result = self._steps.precision.optimizer_step(self._optimizer, self._steps.before, closure, **kwargs)
        self._steps.after()
        return result

    def zero_grad(self, *args: bool, **kwargs: bool) -> None:
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
        blocked = nullcontext() if sync_grad else self._steps.strategy.no_sync()
        with blocked, self._steps.module.toggled_optimizer(self):
            yield

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        """A copy wraps a copy, and belongs to no run."""
        return LightningOptimizer, (self._optimizer,)

    def __repr__(self) -> str:
        return f"Lightning{self._optimizer!r}"
