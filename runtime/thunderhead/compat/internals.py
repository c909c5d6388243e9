"""What libraries reach for inside of Lightning, over the records that there are: a layer of its own, for their sake.

Nothing here is imported before somebody asks for one of these names, and no step pays for any of them. What is shown is
what the Trainer's public records say; what is set, is set there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Optional, Protocol, Self, Union, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributed import ReduceOp
from torch.distributed.constants import default_pg_timeout

from thunderhead.core.ending import EndsWell

__all__ = ["ReduceOp", "default_pg_timeout"]

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
