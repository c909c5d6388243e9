"""Choosing the parts of a trainer from its arguments and the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from thunderhead.callbacks.callback import Callback, Checkpoint
from thunderhead.distributed.environment import Place, find_place
from thunderhead.distributed.launch import ScriptLauncher
from thunderhead.distributed.strategy import DDPStrategy, Strategy
from thunderhead.exceptions import MisconfigurationException
from thunderhead.precision import Precision, canonical_precision, make_precision
from thunderhead.trainer.arguments import one_of
from thunderhead.warning import say

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer

_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
_STRATEGIES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_true",
    "ddp_find_unused_parameters_false",
    "single_device",
)
_REFUSED = {
    "ddp_spawn": "'ddp', which runs the script once per device",
    "ddp_fork": "'ddp', which runs the script once per device",
    "ddp_notebook": "a script with 'ddp'",
    "deepspeed": "FSDP2 in configure_model",
    "fsdp": "FSDP2 (torch.distributed.fsdp.fully_shard) in configure_model",
    "xla": "ddp",
    "single_xla": "single_device",
    "tpu": "cpu or cuda",
}


def choose_strategy(given: dict[str, Any]) -> Strategy:
    """Device and strategy; ``devices`` and ``num_nodes`` follow the environment where it says something."""
    place = find_place()
    name = given["strategy"]
    _check_devices(given["devices"], given["num_nodes"], place)
    by_hand = place.world_size == 1 and "RANK" not in os.environ
    if by_hand:
        place = _first_of(_processes(given), given["num_nodes"] or 1)
    device = _device(given["accelerator"], place)
    if isinstance(name, Strategy):
        strategy = name
        strategy.bind(device, place)
    else:
        strategy = _named(name, device, place)
    if strategy.world_size != place.world_size:
        raise MisconfigurationException(
            f"strategy={strategy.name!r} is a single process, but there are {place.world_size}; use 'ddp' or 'auto'"
        )
    if by_hand and place.world_size > 1:
        strategy.launcher = ScriptLauncher(place)
    return strategy


def _named(name: str, device: torch.device, place: Place) -> Strategy:
    _refuse("strategy", name)
    one_of("strategy", name, _STRATEGIES)
    if name.startswith("ddp") or (name == "auto" and place.world_size > 1):
        options: dict[str, Any] = {}
        if name.endswith(("_true", "_false")):
            options["find_unused_parameters"] = name.endswith("_true")
        return DDPStrategy(device, place, **options)
    return Strategy(device, place)


def _processes(given: dict[str, Any]) -> int:
    """How many processes this one is to be on its node, where no launcher has said."""
    devices = given["devices"]
    found = torch.cuda.device_count() if given["accelerator"] in ("auto", "gpu", "cuda") else 0
    if devices in (-1, "-1"):
        return max(1, found)
    wanted = _count(devices)
    single = isinstance(given["strategy"], str) and given["strategy"] == "single_device"
    if found and wanted is not None and wanted > found:
        raise MisconfigurationException(f"devices={devices!r}, but this machine has {found}")
    return 1 if wanted is None or single else wanted


def _count(devices: Any) -> int | None:
    """Number of devices meant: a count, or a list of their numbers; None for what the environment says."""
    if isinstance(devices, (list, tuple)):
        return len(devices)
    if isinstance(devices, str):
        return int(devices) if devices.isdigit() else len(devices.split(",")) if "," in devices else None
    return int(devices) if devices > 0 else None


def _first_of(processes: int, num_nodes: int) -> Place:
    """The place of local rank 0, which starts the others."""
    node = int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")))
    return Place(
        rank=node * processes,
        world_size=processes * num_nodes,
        local_rank=0,
        local_world_size=processes,
        node_rank=node,
    )


def _device(accelerator: Any, place: Place) -> torch.device:
    _refuse("accelerator", accelerator)
    one_of("accelerator", accelerator, _ACCELERATORS)
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if accelerator in ("gpu", "auto"):
        accelerator = "cuda" if cuda else "mps" if mps else "cpu" if accelerator == "auto" else "gpu"
    if accelerator == "gpu" or (accelerator == "cuda" and not cuda) or (accelerator == "mps" and not mps):
        raise MisconfigurationException(f"accelerator={accelerator!r}, but this machine has none; use 'cpu' or 'auto'")
    if accelerator == "cuda":
        return torch.device("cuda", place.local_rank % torch.cuda.device_count())
    return torch.device(accelerator)


def _check_devices(devices: Any, num_nodes: Any, place: Place) -> None:
    if devices in (0, "0", []) or isinstance(devices, bool):
        raise MisconfigurationException(
            f"devices={devices!r} leaves no device to run on; use a number from 1, or 'auto'"
        )
    if num_nodes is not None and (isinstance(num_nodes, bool) or not isinstance(num_nodes, int) or num_nodes < 1):
        raise MisconfigurationException(f"num_nodes={num_nodes!r} must be an integer of at least 1")
    if place.world_size == 1 and "RANK" not in os.environ:
        if num_nodes not in (None, 1) and _count(devices) is None:
            raise MisconfigurationException(
                f"num_nodes={num_nodes}, but nobody says how many processes a node has; pass devices, or use torchrun"
            )
        return
    wanted = _count(devices)
    if wanted is not None and wanted != place.local_world_size:
        raise MisconfigurationException(
            f"devices={devices!r}, but the launcher started {place.local_world_size} processes on this node; "
            "leave it out"
        )
    if num_nodes is not None and num_nodes != place.num_nodes:
        raise MisconfigurationException(
            f"num_nodes={num_nodes}, but the launcher started {place.num_nodes} (WORLD_SIZE={place.world_size}, "
            f"LOCAL_WORLD_SIZE={place.local_world_size}); leave it out"
        )


def _refuse(argument: str, value: Any) -> None:
    for prefix, instead in _REFUSED.items():
        if isinstance(value, str) and value.startswith(prefix):
            raise MisconfigurationException(f"{argument}={value!r} is not supported; use {instead}")


def choose_precision(given: dict[str, Any], strategy: Strategy) -> Precision:
    """The precision that was named or passed as a plugin."""
    plugins = given["plugins"]
    for plugin in [] if plugins is None else plugins if isinstance(plugins, (list, tuple)) else [plugins]:
        if not isinstance(plugin, Precision):
            raise MisconfigurationException(f"plugins={plugin!r}: only a Precision can be passed")
        if given["precision"] is not None:
            raise MisconfigurationException(
                f"precision={given['precision']!r} and the plugin {type(plugin).__name__} both set the "
                "precision; pass one"
            )
        return plugin
    name = "32-true" if given["precision"] is None else canonical_precision(given["precision"])
    return make_precision(name, strategy.root_device.type)


def set_determinism(deterministic: bool | str | None, benchmark: bool | None) -> None:
    """torch's switches, where they were asked for."""
    if deterministic is not None:
        one_of("deterministic", deterministic, (True, False, "warn"))
        torch.use_deterministic_algorithms(bool(deterministic), warn_only=deterministic == "warn")
        if deterministic is True:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            benchmark = False if benchmark is None else benchmark
    if benchmark is not None:
        torch.backends.cudnn.benchmark = benchmark


def collect_loggers(given: dict[str, Any], trainer: Trainer) -> list[Any]:
    """Loggers as a list; a CSV logger by default."""
    logger = given["logger"]
    if logger is False or (logger is None and trainer.barebones):
        return []
    if logger is None or logger is True:
        from thunderhead.loggers.csv_logger import CSVLogger

        return [CSVLogger(trainer.default_root_dir)]
    return list(logger) if isinstance(logger, Iterable) else [logger]


def has_timer(given: dict[str, Any]) -> bool:
    """Whether the given callbacks limit the run's time."""
    from thunderhead.callbacks.timer import Timer

    return any(isinstance(callback, Timer) for callback in _given_callbacks(given))


def _given_callbacks(given: dict[str, Any]) -> list[Any]:
    asked = given["callbacks"]
    return [] if asked is None else [asked] if isinstance(asked, Callback) else list(asked)


def collect_callbacks(given: dict[str, Any], trainer: Trainer) -> list[Callback]:
    """The given callbacks and those that arguments ask for, in the order in which they are called."""
    callbacks = _given_callbacks(given)
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise MisconfigurationException(
                f"callbacks={callback!r} is no Callback; derive it from thunderhead.Callback"
            )
    _add_default_checkpoint(callbacks, given)
    _add_progress(callbacks, given)
    _add_summary(callbacks, given)
    if trainer.max_time is not None:
        from thunderhead.callbacks.timer import Timer

        if any(isinstance(callback, Timer) for callback in callbacks):
            say("max_time is ignored: a Timer callback was given")
        else:
            callbacks.append(Timer(trainer.max_time, interval="step"))
    return order_callbacks(callbacks)


def _add_default_checkpoint(callbacks: list[Any], given: dict[str, Any]) -> None:
    enabled = given["enable_checkpointing"]
    present = any(isinstance(callback, Checkpoint) for callback in callbacks)
    if present and enabled is False:
        raise MisconfigurationException(
            "enable_checkpointing=False, but callbacks holds a checkpoint callback; drop one"
        )
    if not present and enabled is not False:
        from thunderhead.callbacks.model_checkpoint import ModelCheckpoint

        callbacks.append(ModelCheckpoint())


def _add_progress(callbacks: list[Any], given: dict[str, Any]) -> None:
    from thunderhead.callbacks.progress import ProgressBar, default_progress

    bars = [callback for callback in callbacks if isinstance(callback, ProgressBar)]
    if len(bars) > 1:
        raise MisconfigurationException(f"{len(bars)} progress bars were given; pass one")
    if bars and given["enable_progress_bar"] is False:
        raise MisconfigurationException("enable_progress_bar=False, but callbacks holds a progress bar; drop one")
    if not bars and given["enable_progress_bar"] is not False:
        callbacks.append(default_progress())


def _add_summary(callbacks: list[Any], given: dict[str, Any]) -> None:
    from thunderhead.callbacks.model_summary import ModelSummary, default_summary

    if given["enable_model_summary"] is not False and not any(isinstance(c, ModelSummary) for c in callbacks):
        callbacks.append(default_summary())


def order_callbacks(callbacks: list[Callback]) -> list[Callback]:
    """Callbacks that save come last; others keep their order.

    Raises:
        RuntimeError: two callbacks with state share a ``state_key``.
    """
    keys = [callback.state_key for callback in callbacks if _has_state(callback)]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise RuntimeError(f"several callbacks have the state_key {twice[0]!r}; override state_key to tell them apart")
    saving = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
    return [callback for callback in callbacks if not isinstance(callback, Checkpoint)] + saving


def attach_module_callbacks(trainer: Trainer) -> None:
    """Callbacks that the module brings replace the trainer's of the same type; all of them can log."""
    brought = trainer._hooks.call_module("configure_callbacks")
    own = [brought] if isinstance(brought, Callback) else list(brought or [])
    if own:
        types = {type(callback) for callback in own}
        replaced = sorted(type(c).__name__ for c in trainer.callbacks if type(c) in types)
        if replaced:
            say(f"callbacks of the module replace the Trainer's: {', '.join(replaced)}")
        trainer.callbacks = order_callbacks([c for c in trainer.callbacks if type(c) not in types] + own)
    for callback in trainer.callbacks:
        callback.log = trainer.lightning_module.log  # type: ignore[attr-defined]  # every callback can log
        callback.log_dict = trainer.lightning_module.log_dict  # type: ignore[attr-defined]


def _has_state(callback: Callback) -> bool:
    return type(callback).state_dict is not Callback.state_dict
