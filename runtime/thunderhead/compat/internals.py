"""What libraries reach for inside of Lightning, over the records that there are: a layer of its own, for their sake.

Nothing here is imported before somebody asks for one of these names, and no step pays for any of them. What is shown is
what the Trainer's public records say; what is set, is set there.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import os
import pickle
import types
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final, Optional, Protocol, Self, Union, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributed import ReduceOp
from torch.distributed.constants import default_pg_timeout
from torch.optim import Optimizer

from thunderhead.compat.rank_zero import rank_of
from thunderhead.core.ending import EndsWell
from thunderhead.data.loader_warnings import suggested_max_num_workers
from thunderhead.rng import seed_everything
from thunderhead.tensors import map_tensors, move_to_device

__all__ = ["ReduceOp", "default_pg_timeout", "suggested_max_num_workers"]

# --- types -----------------------------------------------------------------------------------------------------------

_PATH = Union[str, Path]  # noqa: UP007 - libraries put it into unions of their own, by both spellings
_DEVICE = Union[torch.device, str, int]  # noqa: UP007
_MAP_LOCATION_TYPE = Optional[  # noqa: UP045
    Union[_DEVICE, Callable[[torch.UntypedStorage, str], Optional[torch.UntypedStorage]], dict[_DEVICE, _DEVICE]]  # noqa: UP007, UP045
]
_PARAMETERS = Iterator[nn.Parameter]
_OUT_DICT = dict[str, Tensor]
_PBAR_DICT = dict[str, float]
_EVALUATE_OUTPUT = list[dict[str, float]]
_PREDICT_OUTPUT = Union[list[Any], list[list[Any]]]  # noqa: UP007

FLOAT16_EPSILON: Final = torch.finfo(torch.float16).eps
FLOAT32_EPSILON: Final = torch.finfo(torch.float32).eps
FLOAT64_EPSILON: Final = torch.finfo(torch.float64).eps


@runtime_checkable
class _Stateful(Protocol):
    """Has a state that can be saved."""

    def state_dict(self) -> dict[Any, Any]: ...

    def load_state_dict(self, state_dict: dict[Any, Any]) -> None: ...


@runtime_checkable
class CollectibleGroup(Protocol):
    """A group of processes."""

    def size(self) -> int: ...

    def rank(self) -> int: ...


@runtime_checkable
class Optimizable(Protocol):
    """Looks like an optimizer."""

    param_groups: list[dict[Any, Any]]
    defaults: dict[Any, Any]
    state: dict[Any, Any]

    def step(self, closure: Callable[[], float] | None = ...) -> object: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class LightningEnum(StrEnum):
    """Words that are enough by themselves; looked up in any case."""

    @classmethod
    def from_str(cls, value: str, source: str = "key") -> Self | None:
        """The member of this name, or of this value; None where there is none."""
        wanted = value.lower().replace("-", "_")
        names = [member for member in cls if member.name.lower() == wanted]
        values = [member for member in cls if member.value.lower() == value.lower()]
        found = {"key": names, "value": values}.get(source, names or values)
        return found[0] if found else None


class Interval(LightningEnum):
    """When Timer looks at the clock."""

    step = "step"
    epoch = "epoch"


_TunerExitException = EndsWell


class Known(Protocol):
    """An object of a floor above, Trainer or module: what it has is read by name."""

    def __getattr__(self, name: str, /) -> Any: ...


# --- the trainer's parts ---------------------------------------------------------------------------------------------


class _AcceleratorConnector:
    """Which devices and strategy some arguments mean; ``trainer._accelerator_connector`` says so of the Trainer's."""

    def __init__(
        self,
        devices: list[int] | str | int = "auto",
        num_nodes: int = 1,
        accelerator: object = "auto",
        strategy: object = "auto",
        plugins: object = None,
        precision: int | str | None = None,
        sync_batchnorm: bool = False,
        benchmark: bool | None = None,
        use_distributed_sampler: bool = True,
        deterministic: bool | str | None = None,
    ) -> None:
        trainer = importlib.import_module("thunderhead").Trainer
        self._show(
            trainer(
                accelerator=accelerator,
                devices=devices,
                num_nodes=None if num_nodes == 1 else num_nodes,
                strategy=strategy,
                plugins=plugins,
                precision=precision,
                sync_batchnorm=sync_batchnorm,
                benchmark=benchmark,
                use_distributed_sampler=use_distributed_sampler,
                deterministic=deterministic,
                **_SILENT,
            )
        )

    @classmethod
    def of(cls, trainer: Known) -> _AcceleratorConnector:
        """That of a Trainer."""
        made = cls.__new__(cls)
        made._show(trainer)
        return made

    def _show(self, trainer: Known) -> None:
        strategy = trainer.strategy
        self.strategy, self.accelerator, self.precision_plugin = strategy, trainer.accelerator, trainer.precision_plugin
        self.cluster_environment, self.checkpoint_io = strategy.cluster_environment, strategy.checkpoint_io
        self.use_distributed_sampler, self.sync_batchnorm = trainer.use_distributed_sampler, trainer.sync_batchnorm
        self._parallel_devices = list(strategy.parallel_devices or [strategy.root_device])
        self._accelerator_flag = trainer.accelerator.name()
        on_cpu = strategy.root_device.type == "cpu"
        self._devices_flag: int | list[int] = trainer.num_devices if on_cpu else trainer.device_ids
        self._strategy_flag, self._precision_flag = strategy.name, trainer.precision
        self._num_nodes_flag = trainer.num_nodes

    @property
    def is_distributed(self) -> bool:
        """Whether there are several processes, or a strategy for them."""
        return bool(self.strategy.world_size > 1 or getattr(self.strategy, "is_distributed", False))


_SILENT: Final = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class DataConnector:
    """``trainer._data_connector``: where the loaders of each stage come from."""

    def __init__(self, trainer: Known) -> None:
        self.trainer = trainer

    @property
    def _train_dataloader_source(self) -> object:
        return self.trainer.fit_loop._data_source

    @property
    def _val_dataloader_source(self) -> object:
        return self.trainer.fit_loop.epoch_loop.val_loop._data_source

    @property
    def _test_dataloader_source(self) -> object:
        return self.trainer.test_loop._data_source

    @property
    def _predict_dataloader_source(self) -> object:
        return self.trainer.predict_loop._data_source


class CallbackConnector:
    """``trainer._callback_connector``: in which order callbacks are called."""

    def __init__(self, trainer: Known) -> None:
        self.trainer = trainer

    @staticmethod
    def _reorder_callbacks(callbacks: Iterable[Any]) -> list[Any]:
        """Those that save come last."""
        given = list(callbacks)
        saving = importlib.import_module("thunderhead.user.callback").Checkpoint
        return sorted(given, key=lambda callback: isinstance(callback, saving))


PARTS: Final[dict[str, Callable[[Any], object]]] = {
    "_accelerator_connector": _AcceleratorConnector.of,
    "_data_connector": DataConnector,
    "_callback_connector": CallbackConnector,
}


def get_standard_metrics(trainer: Known) -> dict[str, int | str]:
    """What bars show of any run: the version of its logger."""
    version = getattr(trainer.logger, "version", None)
    if version in (None, ""):
        return {}
    return {"v_num": version[-4:] if isinstance(version, str) else version}


# --- files -----------------------------------------------------------------------------------------------------------


def get_filesystem(path: str | os.PathLike[str], **kwargs: object) -> object:
    """fsspec's file system of a path or URL."""
    from fsspec.core import url_to_fs

    return url_to_fs(os.fspath(path), **kwargs)[0]


def _load(
    path_or_url: str | os.PathLike[str] | IO[bytes],
    map_location: _MAP_LOCATION_TYPE = None,
    weights_only: bool | None = None,
) -> object:
    """Whatever ``torch.save`` wrote there."""
    if not isinstance(path_or_url, str | os.PathLike):
        return torch.load(path_or_url, map_location=cast(Any, map_location), weights_only=weights_only)
    place = importlib.import_module("thunderhead.files.schemes").place_of(os.fspath(path_or_url))
    with place.read(os.fspath(path_or_url)) as stream:
        return torch.load(stream, map_location=cast(Any, map_location), weights_only=weights_only)


def _load_from_checkpoint(
    cls: type, checkpoint_path: object, map_location: _MAP_LOCATION_TYPE = None, **kwargs: object
) -> object:
    """What ``cls.load_from_checkpoint`` returns, past an override of it."""
    loading = importlib.import_module("thunderhead.files.loading")
    load = loading.load_module if issubclass(cls, nn.Module) else loading.load_datamodule
    return load(cls, checkpoint_path, map_location, **kwargs)


def _is_dir(fs: Known, path: str | os.PathLike[str], strict: bool = False) -> bool:
    return bool(fs.isdir(os.fspath(path)))


def _is_local_file_protocol(path: str | os.PathLike[str]) -> bool:
    return "://" not in os.fspath(path) or os.fspath(path).startswith("file://")


# --- arguments and names ---------------------------------------------------------------------------------------------


def get_init_args(frame: types.FrameType) -> dict[str, Any]:
    """The arguments of the ``__init__`` that runs in ``frame``, those of ``**kwargs`` by their names."""
    return _own_arguments(frame)[1]


def collect_init_args(
    frame: types.FrameType, path_args: list[dict[str, Any]], inside: bool = False, classes: tuple[type, ...] = ()
) -> list[dict[str, Any]]:
    """The same of each ``__init__`` through which an object is being made, from the innermost class outwards."""
    at: types.FrameType | None = frame
    while at is not None and at.f_back is not None:
        made, arguments = _own_arguments(at)
        if "__class__" in at.f_locals and (not classes or isinstance(made, classes)):
            path_args.append(arguments)
            inside = True
        elif inside:
            break
        at = at.f_back
    return path_args


def _own_arguments(frame: types.FrameType) -> tuple[object, dict[str, Any]]:
    found = frame.f_locals
    if "__class__" not in found or frame.f_code.co_name != "__init__":
        return None, {}
    parameters = list(inspect.signature(found["__class__"].__init__).parameters.values())
    kinds = {parameter.name: parameter.kind for parameter in parameters}
    arguments = {name: found[name] for name, kind in kinds.items() if kind not in (_VAR, _NAMED) and name in found}
    for name, kind in kinds.items():
        arguments.update(found.get(name, {}) if kind is _NAMED else {})
    own = parameters[0].name
    return found.get(own), {name: value for name, value in arguments.items() if name != own}


_VAR, _NAMED = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


def instantiate_class(args: object, init: dict[str, Any]) -> object:
    """The object that ``{"class_path": ..., "init_args": {...}}`` describes, with these positional arguments first."""
    module, _, name = init["class_path"].rpartition(".")
    positional = args if isinstance(args, tuple) else (args,)
    return getattr(importlib.import_module(module), name)(*positional, **init.get("init_args", {}))


def is_picklable(obj: object) -> bool:
    """Whether pickle takes it."""
    try:
        pickle.dumps(obj)
    except Exception:  # noqa: BLE001 - user objects fail to be pickled in any way they like
        return False
    return True


def is_param_in_hook_signature(
    hook_fx: Callable[..., Any], param: str, explicit: bool = False, min_args: int | None = None
) -> bool:
    """Whether a hook takes an argument of this name; by ``*args`` and by their number too, unless ``explicit``."""
    wanted = inspect.getfullargspec(getattr(hook_fx, "__wrapped__", hook_fx))
    names = [name for name in wanted.args if name != "self"]
    many = min_args is not None and len(names) >= min_args
    return param in names or (not explicit and (wanted.varargs is not None or many))


def lightning_hasattr(model: Known, attribute: str) -> bool:
    """Whether the module, its hyperparameters or its datamodule has it."""
    return bool(_holders(model, attribute))


def lightning_getattr(model: Known, attribute: str) -> object:
    """The attribute of the first of module, hyperparameters and datamodule that has it.

    Raises:
        AttributeError: none of them has.
    """
    holder = _first(model, attribute)
    return holder[attribute] if isinstance(holder, dict) else getattr(holder, attribute)


def lightning_setattr(model: Known, attribute: str, value: object) -> None:
    """Set the attribute of each of module, hyperparameters and datamodule that has it.

    Raises:
        AttributeError: none of them has.
    """
    _first(model, attribute)
    for holder in _holders(model, attribute):
        if isinstance(holder, dict):
            holder[attribute] = value
        else:
            setattr(holder, attribute, value)


def _holders(model: Known, attribute: str) -> list[Any]:
    trainer = getattr(model, "_trainer", None)
    candidates = (model, getattr(model, "hparams", None), None if trainer is None else trainer.datamodule)
    return [c for c in candidates if (attribute in c if isinstance(c, dict) else hasattr(c, attribute))]


def _first(model: Known, attribute: str) -> Any:
    found = _holders(model, attribute)
    if not found:
        raise AttributeError(f"neither module, hyperparameters nor datamodule of {type(model).__name__}: {attribute!r}")
    return found[0]


# --- devices, memory, seeds ------------------------------------------------------------------------------------------


def is_oom_error(exception: BaseException) -> bool:
    """Whether memory ran out, the device's or the host's."""
    if isinstance(exception, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(exception)
    signs = ("out of memory", "CUDNN_STATUS_NOT_SUPPORTED", "DefaultCPUAllocator: can't allocate memory")
    return isinstance(exception, RuntimeError) and any(sign in said for sign in signs)


def garbage_collection_cuda() -> None:
    """Collect garbage, and give the device's unused memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def recursive_detach(in_dict: object, to_cpu: bool = False) -> object:
    """A copy of a collection whose tensors are outside of any graph."""
    return map_tensors(in_dict, lambda tensor: tensor.detach().cpu() if to_cpu else tensor.detach())


def reset_seed() -> None:
    """Seed again as the last ``seed_everything`` did; nothing where there was none."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    if seed is not None:
        seed_everything(int(seed), workers=os.environ.get("PL_SEED_WORKERS", "0") == "1", verbose=False)


def num_cuda_devices() -> int:
    """CUDA devices here."""
    return torch.cuda.device_count()


def is_cuda_available() -> bool:
    """Whether there are any."""
    return torch.cuda.is_available()


def _optimizer_to_device(optimizer: Optimizer, device: _DEVICE) -> None:
    for parameter, state in optimizer.state.items():
        optimizer.state[parameter] = move_to_device(state, torch.device(device))


def _optimizers_to_device(optimizers: Iterable[Optimizer], device: _DEVICE) -> None:
    for optimizer in optimizers:
        _optimizer_to_device(optimizer, device)


def _distributed_is_initialized() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _get_rank() -> int | None:
    return rank_of(os.environ)


# --- parameters ------------------------------------------------------------------------------------------------------


def find_shared_parameters(module: nn.Module) -> list[list[str]]:
    """Names of parameters that are one and the same tensor, by tensor."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    return [found for found in names.values() if len(found) > 1]


def set_shared_parameters(module: nn.Module, shared_params: list[list[str]]) -> nn.Module:
    """Let each list of names be one tensor again: its first."""
    for first, *others in shared_params:
        tensor = module.get_parameter(first)
        for name in others:
            owner, _, last = name.rpartition(".")
            setattr(module.get_submodule(owner), last, tensor)
    return module


def convert_inf(x: float | None) -> float | None:
    """None for what tqdm cannot count to."""
    return None if x is None or x != x or x in (float("inf"), float("-inf")) else x
