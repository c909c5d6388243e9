"""What ``Fabric.setup`` gives back: a module, an optimizer and a loader that behave as the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MethodType
from typing import Any, Final, SupportsIndex

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from thunderhead.data.feeds import Feed
from thunderhead.data.sampling import Shard
from thunderhead.precision import Precision
from thunderhead.tensors import move_to_device

_STEPS: Final = ("training_step", "validation_step", "test_step", "predict_step")
_OWN: Final = ("_forward_module", "_original_module", "_precision", "_forward_methods", "training")


class FabricModule(nn.Module):
    """Calls the module that the strategy put around the user's, in the run's number format; all else is the user's.

    Attributes:
        training: as in the module.
    """

    def __init__(self, forward_module: nn.Module, original: nn.Module, precision: Precision) -> None:
        super().__init__()
        self._forward_module = forward_module
        self._original_module = original
        self._precision = precision
        self._forward_methods = set(_STEPS)
        casts = precision.has_context or type(precision).convert_input is not Precision.convert_input
        self.__dict__["_direct"] = None if casts else forward_module

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """The wrapped module's output; hooks that were put on this wrapper are called too."""
        direct = self.__dict__["_direct"]
        if direct is None or self._forward_hooks or self._forward_pre_hooks or self._backward_hooks:
            return super().__call__(*args, **kwargs)
        return direct(*args, **kwargs)

    def forward(self, *args: object, **kwargs: object) -> object:
        """Compute in the run's number format."""
        args, kwargs = self._precision.convert_input((args, kwargs))
        with self._precision.forward_context():
            return self._forward_module(*args, **kwargs)

    @property
    def module(self) -> nn.Module:
        """The user's."""
        return self._original_module

    def mark_forward_method(self, method: MethodType | str) -> None:
        """Let calls of this method go through what the strategy put around the module, as ``forward`` does.

        Raises:
            ValueError: it is ``forward`` itself.
            AttributeError: the module has no such method.
        """
        name = method if isinstance(method, str) else method.__name__
        if name == "forward":
            raise ValueError("mark_forward_method('forward'): forward is one already; leave it out")
        if not callable(getattr(self._original_module, name, None)):
            raise AttributeError(f"mark_forward_method({name!r}): {type(self._original_module).__name__} has none")
        self._forward_methods.add(name)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # handed on
        """The user's module's."""
        found: dict[str, Any] = self._original_module.state_dict(*args, **kwargs)
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> object:
        """Into the user's module."""
        return self._original_module.load_state_dict(state_dict, strict=strict, assign=assign)

    def __getattr__(self, name: str) -> Any:
        original = self.__dict__["_modules"].get("_original_module")
        if original is None or name in self.__dict__["_modules"]:
            return super().__getattr__(name)
        if name in self.__dict__.get("_forward_methods", ()) and self._forward_module is not original:
            return self._through_forward(name)
        return getattr(original, name)

    def __setattr__(self, name: str, value: Tensor | nn.Module) -> None:
        own = name in _OWN or "_original_module" not in self.__dict__.get("_modules", {}) or hasattr(type(self), name)
        if own:
            super().__setattr__(name, value)
        else:
            setattr(self._original_module, name, value)

    def _through_forward(self, name: str) -> Callable[..., Any]:
        original = self._original_module

        def call(*args: object, **kwargs: object) -> object:
            method, before = getattr(original, name), original.__dict__.get("forward")

            def instead(*given: object, **named: object) -> object:
                _put_forward(original, before)  # the method may call the real one
                return method(*given, **named)

            original.__dict__["forward"] = instead
            try:
                return self(*args, **kwargs)
            finally:
                _put_forward(original, before)

        return call


def _put_forward(module: nn.Module, before: object) -> None:
    if before is None:
        module.__dict__.pop("forward", None)
    else:
        module.__dict__["forward"] = before


class FabricOptimizer:
    """Steps the user's optimizer in the run's number format, and tells callbacks.

    Attributes:
        optimizer: the user's.
    """

    def __init__(
        self, optimizer: Optimizer, scaler: torch.amp.GradScaler | None, strategy: object, callbacks: Sequence[Any]
    ) -> None:
        self._optimizer = optimizer
        self._scaler = scaler
        self._strategy = strategy
        self._callbacks = callbacks
        # isinstance(self, Adam) holds, as user code tests for it.
        self.__class__ = type("Fabric" + type(optimizer).__name__, (type(self), type(optimizer)), {})

    @property
    def optimizer(self) -> Optimizer:
        """The user's."""
        return self._optimizer

    def step(self, closure: Callable[[], Any] | None = None) -> object:
        """One step; left out where scaled gradients overflowed."""
        optimizer, scaler = self._optimizer, self._scaler
        if scaler is not None:
            result = scaler.step(optimizer, **({} if closure is None else {"closure": closure}))
            scaler.update()
        else:
            result = optimizer.step() if closure is None else optimizer.step(closure)
        for callback in self._callbacks:
            hook = getattr(callback, "on_after_optimizer_step", None)
            if callable(hook):
                hook(strategy=self._strategy, optimizer=optimizer)
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As the user's."""
        self._optimizer.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The user's optimizer's."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Into the user's optimizer."""
        self._optimizer.load_state_dict(state_dict)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        """A copy wraps a copy, and steps as torch's own does: it belongs to no Fabric."""
        return FabricOptimizer, (self._optimizer, None, None, ())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_optimizer"], name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("_optimizer", "_scaler", "_strategy", "_callbacks", "__class__"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._optimizer, name, value)


class FabricDataLoader:
    """Reads the user's loader: this rank's part of it, on the run's device.

    Attributes:
        device: where batches go; None leaves them.
    """

    def __init__(self, loader: Iterable[Any], shard: Shard | None, device: torch.device | None) -> None:
        self._loader = loader
        self._feed = None if shard is None else Feed(loader, shard)
        self.device = device
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._loader if self._feed is None else self._feed.shown)  # type: ignore[arg-type]  # or it raises

    def __iter__(self) -> Iterator[Any]:
        feed, epoch = self._feed, self._epoch
        self._epoch += 1
        advance = getattr(getattr(self._loader, "sampler", None), "set_epoch", None)
        if feed is None and advance is not None:
            advance(epoch)
        batches = iter(self._loader) if feed is None else feed.begin(epoch)
        device = self.device
        if device is None:
            return batches
        return (move_to_device(batch, device) for batch in batches)

    def __getattr__(self, name: str) -> object:
        shown = self.__dict__["_loader"] if self.__dict__.get("_feed") is None else self.__dict__["_feed"].shown
        return getattr(shown, name)


# A loader is a DataLoader for who asks, as Lightning's wrapper has its attributes.
Loader = DataLoader[Any] | FabricDataLoader


def unwrapped(value: object) -> Any:
    """The user's own, of what was set up; in a dict, list or tuple each."""
    if isinstance(value, FabricModule):
        return value._original_module
    if isinstance(value, FabricOptimizer):
        return value._optimizer
    if isinstance(value, FabricDataLoader):
        return value._loader
    compiled = getattr(value, "_orig_mod", None)
    if isinstance(compiled, FabricModule):
        return compiled._original_module
    if isinstance(value, dict) and type(value) is dict:
        return {key: unwrapped(of) for key, of in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(unwrapped, value))
    return value


def is_wrapped(obj: object) -> bool:
    """Whether ``Fabric.setup`` and its kin gave it back."""
    return isinstance(getattr(obj, "_orig_mod", obj), FabricModule | FabricOptimizer | FabricDataLoader)
