"""The interface of all loggers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from thunderhead.files.writable import Destination
from thunderhead.warning import is_rank_zero

if TYPE_CHECKING:
    from torch import Tensor

Given = ParamSpec("Given")
Result = TypeVar("Result")


def rank_zero_only(function: Callable[Given, Result]) -> Callable[Given, Any]:
    """Do nothing, and return None, on every rank but 0."""

    @wraps(function)
    def on_rank_zero(*args: Given.args, **kwargs: Given.kwargs) -> Result | None:
        return function(*args, **kwargs) if is_rank_zero() else None

    return on_rank_zero


class Logger(ABC):
    """Receives metrics and hyperparameters. Methods are called on every rank; most write on rank 0 only."""

    # The argument that decides where its files go, where the Trainer chose it and not its save_dir.
    _decided_by: str | None = None

    @property
    @abstractmethod
    def name(self) -> str | None:
        """Name of the experiment."""

    @property
    @abstractmethod
    def version(self) -> int | str | None:
        """Version within the experiment."""

    @property
    def root_dir(self) -> str | None:
        """Directory of all versions."""
        return None

    @property
    def log_dir(self) -> str | None:
        """Directory of this version."""
        return None

    @property
    def save_dir(self) -> str | None:
        """Directory of all experiments."""
        return None

    @property
    def experiment(self) -> Any:
        """The object that does the writing, for what this interface does not offer."""
        return None

    @abstractmethod
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Record values by name at a step."""

    @abstractmethod
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Record hyperparameters (a mapping or namespace)."""

    def log_graph(  # noqa: B027 - optional for implementers
        self, model: Any, input_array: Tensor | None = None
    ) -> None:
        """Record what the module computes."""

    def save(self) -> None:  # noqa: B027 - optional for implementers
        """Write out what is held back; called at the end of each epoch, and before a checkpoint is taken."""

    def finalize(self, status: str) -> None:
        """The run has ended: success, failed or aborted."""
        self.save()

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:  # noqa: B027 - optional for implementers
        """A checkpoint was saved."""

    def _records(self) -> int | None:
        """How many records lie in its place, for a checkpoint; None where it cannot take any back."""
        return None

    def _train_from(self, step: int | None, records: int | None) -> None:  # noqa: B027 - optional for implementers
        """Training goes on at this x, or begins anew: what to do with records of before that lie in the same place.

        ``records``: how many there were when the checkpoint was taken, where it tells.
        """

    def _destination(self) -> Destination | None:
        """Where it will write files, if it does; a run asks before it begins."""
        return None

    def _files_below(self, directory: str) -> Destination:
        argument = self._decided_by or f"{type(self).__name__}(save_dir={self.save_dir!r})"
        return Destination(directory, argument, "logs")


def plain_hyperparameters(params: Mapping[str, Any] | Namespace | None) -> dict[str, Any]:
    """Hyperparameters as a flat-valued dict that YAML can hold; what it cannot is written as its repr."""
    items = vars(params) if hasattr(params, "__dict__") and not isinstance(params, dict) else dict(params or {})
    return {str(key): _plain(value) for key, value in items.items()}


def _plain(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    return repr(value)
