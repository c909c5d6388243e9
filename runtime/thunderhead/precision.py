"""Number formats of a run: what the forward pass computes in, how gradients are scaled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from thunderhead.dead_overrides import TellsDeadOverrides
from thunderhead.device_kinds import refuse_format
from thunderhead.exceptions import MisconfigurationException, did_you_mean
from thunderhead.tensors import map_tensors
from thunderhead.warning import say_once

_ALIASES: Final[dict[Any, str]] = {
    16: "16-mixed",
    "16": "16-mixed",
    "bf16": "bf16-mixed",
    32: "32-true",
    "32": "32-true",
    64: "64-true",
    "64": "64-true",
}
_REFUSED: Final = {
    "transformer-engine": "use 'bf16-mixed', with Transformer Engine's own layers and autocast inside the module",
    "transformer-engine-float16": "use '16-mixed', with Transformer Engine's own layers and autocast inside the module",
}
PRECISIONS: Final = ("32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true")


class Precision(TellsDeadOverrides):
    """Full precision: nothing is converted, scaled or cast.

    Attributes:
        precision: its canonical name.
        has_context: whether steps must run inside ``forward_context``.
    """

    precision: str = "32-true"
    has_context: bool = False

    @property
    def compute_dtype(self) -> torch.dtype:
        """What matrices are multiplied in."""
        return torch.float32

    def forward_context(self) -> AbstractContextManager[Any]:
        """Surrounds every step of the module."""
        return nullcontext()

    def init_context(self) -> AbstractContextManager[Any]:
        """Surrounds the making of a module whose weights are to have this format at once."""
        return nullcontext()

    def convert_module(self, module: nn.Module) -> nn.Module:
        """The module with its weights in this format."""
        return module

    def convert_input(self, data: Any) -> Any:
        """A batch in this format."""
        return data

    def backward(self, loss: Tensor, module: Any, *args: Any, **kwargs: Any) -> None:
        """Gradients of ``loss``, through the module's own ``backward``."""
        module.backward(loss, *args, **kwargs)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        before: Callable[[Optimizer], None],
        closure: Callable[[], Any] | None,
        **kwargs: Any,
    ) -> Tensor | float | None:
        """One step; ``before`` (hooks and clipping) runs after the closure each time the optimizer calls it."""

        def wrapped() -> Any:
            result = None if closure is None else closure()
            before(optimizer)
            return result

        return optimizer.step(closure=wrapped, **kwargs)

    def check_clipping(self, optimizer: Optimizer) -> None:
        """Refuse to clip gradients that are not what they seem.

        Raises:
            RuntimeError: they are still scaled.
        """

    def clip_gradients(
        self, optimizer: Optimizer, clip_val: float = 0.0, gradient_clip_algorithm: str | None = "norm"
    ) -> None:
        """Clip gradients where they are whole on each rank; for formats that clip in a way of their own to override.

        Raises:
            MisconfigurationException: there is no such algorithm.
            RuntimeError: the gradients are still scaled.
        """
        if clip_val <= 0:
            return
        self.check_clipping(optimizer)
        if gradient_clip_algorithm in (None, "norm"):
            self.clip_grad_by_norm(optimizer, clip_val)
        elif gradient_clip_algorithm == "value":
            self.clip_grad_by_value(optimizer, clip_val)
        else:
            raise MisconfigurationException(
                f"gradient_clip_algorithm={gradient_clip_algorithm!r} is neither 'norm' nor 'value'"
            )

    def clip_grad_by_norm(self, optimizer: Optimizer, clip_val: float) -> None:
        """Scale all gradients, so that their total norm is this at most."""
        torch.nn.utils.clip_grad_norm_(_parameters(optimizer), clip_val)

    def clip_grad_by_value(self, optimizer: Optimizer, clip_val: float) -> None:
        """Cut each element of the gradients down to this at most."""
        torch.nn.utils.clip_grad_value_(_parameters(optimizer), clip_val)

    def state_dict(self) -> dict[str, Any]:
        """State to checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore ``state_dict``."""


class MixedPrecision(Precision):
    """Autocast of the forward pass; weights stay 32-bit. Half precision scales the loss, lest gradients vanish.

    Args:
        precision: ``16-mixed`` or ``bf16-mixed``.
        device: type of device: cuda, cpu, tpu, ...
        scaler: scales losses; one of torch's own for ``16-mixed``.

    Attributes:
        scaler: the scaler, None for bfloat16.
    """

    has_context = True

    def __init__(self, precision: str, device: str, scaler: torch.amp.GradScaler | None = None) -> None:
        self.precision = precision
        self._dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float16
        self._device = device
        self.scaler = torch.amp.GradScaler(device) if scaler is None and precision == "16-mixed" else scaler

    @property
    def compute_dtype(self) -> torch.dtype:
        return self._dtype

    def forward_context(self) -> AbstractContextManager[Any]:
        # Without the cache of cast weights, as in Lightning: in manual optimisation optimizers, averages that are
        # swapped in and hands change weights in the middle of a step, and a cast from before is of the old ones.
        return torch.autocast(self._device, dtype=self._dtype, cache_enabled=False)

    def backward(self, loss: Tensor, module: Any, *args: Any, **kwargs: Any) -> None:
        super().backward(loss if self.scaler is None else self.scaler.scale(loss), module, *args, **kwargs)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        before: Callable[[Optimizer], None],
        closure: Callable[[], Any] | None,
        **kwargs: Any,
    ) -> Tensor | float | None:
        """One step, left out where gradients overflowed; hooks and clipping see unscaled gradients.

        Raises:
            MisconfigurationException: the optimizer evaluates its closure several times (LBFGS).
        """
        scaler = self.scaler
        if scaler is None:
            stepped = super().optimizer_step(optimizer, before, _without_casts(closure), **kwargs)
            torch.clear_autocast_cache()
            return stepped
        if isinstance(optimizer, LBFGS):
            raise MisconfigurationException(f"LBFGS with precision={self.precision}; use bf16-mixed or 32-true")
        result = None if closure is None else closure()
        if not _unscales_itself(optimizer):
            scaler.unscale_(optimizer)
        before(optimizer)
        if closure is not None and result is None:
            return None
        stepped = scaler.step(optimizer, **kwargs)
        scaler.update()
        torch.clear_autocast_cache()
        return stepped

    def check_clipping(self, optimizer: Optimizer) -> None:
        if self.scaler is not None and _unscales_itself(optimizer):
            raise RuntimeError(
                f"{type(optimizer).__name__}(fused=True) unscales gradients as it steps, so they cannot be "
                "clipped before; "
                "use fused=False, or precision='bf16-mixed'"
            )

    def state_dict(self) -> dict[str, Any]:
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.scaler is not None:
            self.scaler.load_state_dict(state)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _without_casts(closure: Callable[[], Any] | None) -> Callable[[], Any] | None:
    """Casts that an autocast of the user's own keeps, which ours around it lets live on, are of the weights before."""
    if closure is None:
        return None
    given = closure

    def fresh() -> object:
        torch.clear_autocast_cache()
        return given()

    return fresh


def _unscales_itself(optimizer: Optimizer) -> bool:
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


class TruePrecision(Precision):
    """Weights and floating-point inputs in one format; new tensors inside a step have it too."""

    has_context = True

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self._dtype = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}[precision]

    @property
    def compute_dtype(self) -> torch.dtype:
        return self._dtype

    def forward_context(self) -> AbstractContextManager[Any]:
        return _DefaultDtype(self._dtype)

    def init_context(self) -> AbstractContextManager[Any]:
        return _DefaultDtype(self._dtype)

    def convert_module(self, module: nn.Module) -> nn.Module:
        return module.to(self._dtype)

    def convert_input(self, data: Any) -> Any:
        dtype = self._dtype

        def convert(value: object) -> object:
            return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

        return map_tensors(data, convert)


class HalfPrecision(TruePrecision):
    """Weights and inputs in 16 bits.

    Args:
        precision: ``16-true`` or ``bf16-true``.
    """

    def __init__(self, precision: str = "16-true") -> None:
        one_of = ("16-true", "bf16-true")
        if precision not in one_of:
            raise MisconfigurationException(f"HalfPrecision({precision!r}) is none of {', '.join(one_of)}")
        super().__init__(precision)


class DoublePrecision(TruePrecision):
    """Weights and inputs in 64 bits."""

    def __init__(self) -> None:
        super().__init__("64-true")


class _DefaultDtype(AbstractContextManager[None]):
    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._before = torch.get_default_dtype()

    def __enter__(self) -> None:
        self._before = torch.get_default_dtype()
        torch.set_default_dtype(self._dtype)

    def __exit__(self, *_: object) -> None:
        torch.set_default_dtype(self._before)


def canonical_precision(value: object) -> str:
    """The canonical name of a precision as users spell it (16 → ``16-mixed``).

    Raises:
        MisconfigurationException: there is no such precision.
    """
    name = _ALIASES.get(value, value) if not isinstance(value, bool) else value
    if isinstance(name, str) and (instead := _REFUSED.get(name)) is not None:
        raise MisconfigurationException(f"precision={value!r} is not supported; {instead}")
    if name not in PRECISIONS:
        raise MisconfigurationException(
            f"precision={value!r} does not exist.{did_you_mean(str(value), PRECISIONS)} There are "
            f"{', '.join(PRECISIONS)}"
        )
    return str(name)


def make_precision(name: str, device: str) -> Precision:
    """The precision called ``name`` on a device type (cpu, cuda, tpu, ...).

    Raises:
        MisconfigurationException: the device has no such numbers.
    """
    refuse_format(name, device)
    if name == "32-true":
        return Precision()
    if name == "16-mixed" and device == "cpu":
        say_once("precision='16-mixed' on the CPU: autocast knows only bf16 there, so 'bf16-mixed' is used")
        name = "bf16-mixed"
    if name.endswith("-mixed"):
        return MixedPrecision(name, device)
    return TruePrecision(name)
