"""What a strategy's name says, and which arguments DDP takes; what is not supported is refused by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from thunderhead.exceptions import MisconfigurationException, UnknownArgument, did_you_mean

START_METHODS = ("popen", "spawn", "fork", "forkserver")
_NAME = re.compile(r"ddp(?P<start>_spawn|_fork|_notebook)?(?:_find_unused_parameters_(?P<unused>true|false))?")
_SUFFIXES = ("", "_find_unused_parameters_true", "_find_unused_parameters_false")
_SHARDED = ("fsdp", "fsdp_cpu_offload")
NAMES = (
    "auto",
    "single_device",
    *(f"{name}{suffix}" for name in ("ddp", "ddp_spawn", "ddp_fork", "ddp_notebook") for suffix in _SUFFIXES),
    *_SHARDED,
)
REFUSED = {
    "deepspeed": "DeepSpeed is not supported; use 'fsdp', or shard in configure_model under ModelParallelStrategy",
    "xla": "torch_xla has ended; use 'ddp', with accelerator='tpu'",
    "single_xla": "torch_xla has ended; use 'single_device', with accelerator='tpu'",
    "single_tpu": "use 'single_device', with accelerator='tpu'",
    "tpu": "use 'ddp', with accelerator='tpu'",
    "dp": "it has been removed from Lightning as well; use 'ddp'",
    "ddp2": "it has been removed from Lightning as well; use 'ddp'",
}
# What the strategy decides itself.
_OURS = {
    "module": "the Trainer passes it",
    "device_ids": "pass devices to the Trainer",
    "output_device": "pass devices to the Trainer",
    "process_group": "pass process_group_backend and timeout",
    "device_mesh": "ranks follow the environment",
}


@dataclass(frozen=True, slots=True)
class Named:
    """What a strategy's name says.

    Attributes:
        ddp: a copy of the module per process.
        fsdp: a piece of the module per process.
        start_method: how processes come to be where no launcher has started them.
        options: for DDP or FSDP.
    """

    ddp: bool = False
    fsdp: bool = False
    start_method: str = "popen"
    options: Mapping[str, Any] | None = None


def read_name(name: object) -> Named | None:
    """What ``Trainer(strategy=name)`` means; None for ``auto``.

    Raises:
        MisconfigurationException: there is no such strategy, or none here.
    """
    if not isinstance(name, str):
        raise MisconfigurationException(f"strategy={name!r} is neither the name of a strategy nor a Strategy")
    for refused, why in REFUSED.items():
        if name == refused or name.startswith(f"{refused}_"):
            raise MisconfigurationException(f"strategy={name!r} is not supported: {why}")
    if name == "auto":
        return None
    if name == "single_device":
        return Named()
    if name in _SHARDED:
        return Named(fsdp=True, options={"cpu_offload": name == "fsdp_cpu_offload"})
    found = _NAME.fullmatch(name)
    if found is None:
        raise MisconfigurationException(
            f"strategy={name!r} does not exist.{did_you_mean(name, NAMES)} There are {', '.join(NAMES)}"
        )
    start = {None: "popen", "_spawn": "spawn", "_fork": "fork", "_notebook": "fork"}[found["start"]]
    unused = found["unused"]
    return Named(ddp=True, start_method=start, options=None if unused is None else _unused(unused == "true"))


def _unused(value: bool) -> dict[str, Any]:
    return {"find_unused_parameters": value}


def check_start_method(value: object) -> str:
    """How processes are started.

    Raises:
        MisconfigurationException: there is no such way.
    """
    if value not in START_METHODS:
        raise MisconfigurationException(
            f"DDPStrategy(start_method={value!r}) does not exist.{did_you_mean(str(value), START_METHODS)} There are "
            f"{', '.join(START_METHODS)}"
        )
    return str(value)


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of ``torch.nn.parallel.DistributedDataParallel``.

    Raises:
        UnknownArgument: torch's DDP has no such keyword.
        MisconfigurationException: the strategy sets it itself.
    """
    known = set(inspect.signature(nn.parallel.DistributedDataParallel.__init__).parameters) - {"self"}
    for name in options:
        if name in _OURS:
            raise MisconfigurationException(f"DDPStrategy({name}=...) is set by the strategy; {_OURS[name]}")
        if name not in known:
            raise UnknownArgument(
                f"DDPStrategy has no argument {name!r}, nor has torch's DistributedDataParallel."
                f"{did_you_mean(name, known - set(_OURS))}"
            )
    return dict(options)


def check_hook(hook: object, state: object, wrapper: object, averaging: int | None) -> None:
    """A communication hook and what belongs to it.

    Raises:
        MisconfigurationException: one of its companions stands alone, or the period is no positive number.
    """
    for name, value in (("ddp_comm_state", state), ("ddp_comm_wrapper", wrapper)):
        if value is not None and hook is None:
            raise MisconfigurationException(f"DDPStrategy({name}=...) belongs to a ddp_comm_hook; pass that too")
    local_sgd = type(state).__name__ == "PostLocalSGDState"
    if averaging is None:
        if local_sgd:
            raise MisconfigurationException(
                "DDPStrategy(ddp_comm_state=PostLocalSGDState(...)) keeps gradients to each rank, so parameters must "
                "be averaged; pass model_averaging_period"
            )
        return
    if isinstance(averaging, bool) or not isinstance(averaging, int) or averaging < 1:
        raise MisconfigurationException(f"DDPStrategy(model_averaging_period={averaging!r}) must be a number from 1")
    if not local_sgd:
        raise MisconfigurationException(
            "DDPStrategy(model_averaging_period=...) averages what post-local SGD lets drift; pass "
            "ddp_comm_state=PostLocalSGDState(...) with ddp_comm_hook=post_localSGD_hook, or leave it out"
        )
