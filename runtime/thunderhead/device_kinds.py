"""What differs from one kind of device to the next: one table, whose rows are all that a new kind needs.

A back end that torch knows and that behaves like most needs no row either. Asking here initialises no device.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from thunderhead.exceptions import MisconfigurationException

_NO_DOUBLES: Final = "it has no 64-bit numbers; use '32-true'"
_NO_HALVES: Final = "it has no use for 16-bit floats, whose range is small; use 'bf16-mixed' or 'bf16-true'"


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """One kind of device.

    Attributes:
        type: torch's name of it.
        package: what to install for it, where that is not torch itself.
        module: what to import of that package.
        is_gpu: ``accelerator="gpu"`` may mean it.
        group: back end of process groups; None for the one that torch has registered, with gloo for the host's tensors.
        widest: what holds any of its floating-point numbers.
        refused: why number formats cannot be had there, and what to use.
    """

    type: str
    package: str | None = None
    module: str | None = None
    is_gpu: bool = False
    group: str | None = None
    widest: torch.dtype = torch.float64
    refused: Mapping[str, str] = field(default_factory=dict)


# In the order in which ``auto`` looks for them.
KINDS: Final[dict[str, DeviceKind]] = {
    row.type: row
    for row in (
        DeviceKind(
            "tpu",
            package="torch-tpu",
            module="torch_tpu",
            group="cpu:gloo,tpu:tpu_dist",
            widest=torch.float32,
            refused={"16-mixed": _NO_HALVES, "16-true": _NO_HALVES},
        ),
        DeviceKind("cuda", is_gpu=True, group="nccl"),
        DeviceKind("mps", is_gpu=True, group="gloo", widest=torch.float32, refused={"64-true": _NO_DOUBLES}),
        DeviceKind("cpu", group="gloo"),
    )
}


def kind_of(type_: str) -> DeviceKind:
    """The row of a kind, or what holds of one that has none."""
    return KINDS.get(type_) or DeviceKind(type_)


def module_of(type_: str) -> Any:
    """torch's module of a kind of device (``torch.cuda``); None where torch knows no such kind."""
    try:
        return torch.get_device_module(type_)
    except RuntimeError:
        return None


def device_count(type_: str) -> int:
    """How many of them this process could use."""
    count = getattr(module_of(type_), "device_count", None)
    return 0 if count is None else int(count())


def present() -> list[str]:
    """Kinds of which this machine has devices, the best first; the processor is last."""
    return [type_ for type_ in _candidates() if device_count(type_)]


def initialised() -> list[str]:
    """Accelerators that this process works with already: those with a state worth keeping."""
    return [type_ for type_ in _candidates() if type_ != "cpu" and _is_initialised(type_)]


def _candidates() -> dict[str, None]:
    own = torch.accelerator.current_accelerator()
    # What torch has beside those of the table is what this torch was made for.
    return dict.fromkeys([*([] if own is None else [own.type]), *KINDS])


def _is_initialised(type_: str) -> bool:
    asked = getattr(module_of(type_), "is_initialized", None)
    return device_count(type_) > 0 if asked is None else bool(asked())


def cannot_fork() -> str | None:
    """The kind of a device in use, which a forked process could not go on with; None where there is none."""
    return next((type_ for type_ in initialised() if hasattr(module_of(type_), "is_initialized")), None)


def wait_for_copies() -> None:
    """Wait until what the host has asked of accelerators' present streams is done."""
    for type_ in initialised():
        module = module_of(type_)
        if hasattr(module, "current_stream"):
            module.current_stream().synchronize()
        else:
            module.synchronize()


def why_absent(type_: str) -> str:
    """Why there is no such device, and what to do about it."""
    kind, there = kind_of(type_), present()
    have = f"it has {' and '.join(there)}"
    instead = f"use {there[0]!r} or 'auto'"
    if kind.package is None or kind.module is None:
        return f"this machine has none; {have}. {instead.capitalize()}"
    if importlib.util.find_spec(kind.module) is None:
        return (
            f"the package {kind.package} is not installed; pip install {kind.package} where such devices are, or "
            f"{instead}"
        )
    if module_of(type_) is None:
        return (
            f"{kind.package} is installed and has added no device to torch: this machine has none, or "
            f"TORCH_DEVICE_BACKEND_AUTOLOAD=0 keeps torch from loading it; {instead}"
        )
    return f"{kind.package} finds none on this machine; {have}. {instead.capitalize()}"


def refuse_format(precision: str, type_: str) -> None:
    """Refuse a number format that a kind of device has not.

    Raises:
        MisconfigurationException: it is one.
    """
    reason = kind_of(type_).refused.get(precision)
    if reason is not None:
        raise MisconfigurationException(f"precision={precision!r} on {type_}: {reason}")


def group_backend(type_: str, *, with_host: bool = False) -> str:
    """Over what processes talk that each have such a device.

    Args:
        type_: the kind of device.
        with_host: tensors of the host can travel in any case.

    Raises:
        MisconfigurationException: torch knows of nothing for this kind.
    """
    kind = kind_of(type_)
    if kind.group is not None:
        alone = with_host and kind.group != "gloo" and ":" not in kind.group
        return f"cpu:gloo,{type_}:{kind.group}" if alone else kind.group
    from torch.distributed import Backend

    registered = Backend.default_device_backend_map.get(type_)
    if registered in (None, "fake"):
        raise MisconfigurationException(
            f"torch has no back end of process groups for {type_}; import the package that registers one, or name it: "
            "DDPStrategy(process_group_backend=...)"
        )
    return f"cpu:gloo,{type_}:{registered}"
