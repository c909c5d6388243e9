"""Metrics, hyperparameters and graphs for TensorBoard."""

from __future__ import annotations

import importlib.util
import inspect
import os
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
import yaml
from torch import Tensor

from thunderhead.arguments import directory, switch
from thunderhead.exceptions import MisconfigurationException, did_you_mean
from thunderhead.files.schemes import place_of
from thunderhead.files.writable import Destination
from thunderhead.loggers.logger import plain_hyperparameters, rank_zero_only
from thunderhead.loggers.versions import VersionedLogger
from thunderhead.rng import isolate_rng
from thunderhead.tensors import move_to_device
from thunderhead.warning import warn

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from thunderhead.core.steps import Steps

# Of torch.utils.tensorboard.SummaryWriter, which takes a second to import; the directory is the logger's.
_WRITER_OPTIONS: Final = ("comment", "purge_step", "max_queue", "flush_secs", "filename_suffix")


class TensorBoardLogger(VersionedLogger):
    """Writes event files and ``hparams.yaml`` under ``<save_dir>/<name>/version_<n>``.

    TensorBoard is imported when something is first written (extra ``loggers``).

    Args:
        save_dir: directory of all experiments.
        name: name of this one; may be empty.
        version: a number, or the name of the directory; by default the next free number.
        log_graph: also write the graph of a module that has an ``example_input_array``.
        default_hp_metric: write hyperparameters that come without a metric beside ``hp_metric`` = -1, since TensorBoard
            shows none without one.
        prefix: put before every metric's name, with a dash.
        sub_dir: directory below the version's.
        **kwargs: passed to ``torch.utils.tensorboard.SummaryWriter`` (``max_queue``, ``flush_secs``, ...).

    Attributes:
        hparams: hyperparameters so far.

    Raises:
        MisconfigurationException: an argument that neither it nor ``SummaryWriter`` has, or that cannot mean anything.
        ModuleNotFoundError: TensorBoard is not installed.
        TypeError: ``save_dir`` or ``sub_dir`` is no path.
    """

    NAME_HPARAMS_FILE = "hparams.yaml"

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: str | os.PathLike[str] | None = None,
        **kwargs: object,
    ) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ModuleNotFoundError(
                "TensorBoardLogger needs the package tensorboard; install thunderhead[loggers], or use CSVLogger"
            )
        for option in kwargs:
            if option not in _WRITER_OPTIONS:
                known = [*inspect.signature(type(self)).parameters, *_WRITER_OPTIONS]
                raise MisconfigurationException(
                    f"TensorBoardLogger has no argument {option!r}.{did_you_mean(option, known)} Beside its own it "
                    f"takes SummaryWriter's {', '.join(_WRITER_OPTIONS)}"
                )
        super().__init__("TensorBoardLogger", save_dir, name, version, prefix)
        self._log_graph: bool = switch("TensorBoardLogger: log_graph", log_graph)
        self._default_hp_metric: bool = switch("TensorBoardLogger: default_hp_metric", default_hp_metric)
        self._sub_dir = None if sub_dir is None else directory("TensorBoardLogger: sub_dir", sub_dir)
        self._options = kwargs
        self._experiment: SummaryWriter | None = None
        self.hparams: dict[str, Any] = {}

    @property
    def sub_dir(self) -> str | None:
        """Directory below the version's."""
        return self._sub_dir

    @property
    def log_dir(self) -> str:
        """Directory of the event files; ``~`` and ``$VARIABLES`` are filled in."""
        directory = os.path.join(super().log_dir, self._sub_dir or "").rstrip(os.sep)
        return os.path.expanduser(os.path.expandvars(directory))

    @property
    @rank_zero_only
    def experiment(self) -> SummaryWriter:
        """The ``SummaryWriter``; None on other ranks."""
        if self._experiment is None:
            from torch.utils.tensorboard import SummaryWriter

            with self._destination().naming():
                self._experiment = SummaryWriter(log_dir=self.log_dir, **self._options)
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write scalars; a dict of them becomes several curves in one chart.

        Raises:
            ValueError: a value is neither a number, a tensor with one element nor a dict of them.
        """
        for name, value in metrics.items():
            tag = self._prefixed(name)
            if isinstance(value, dict):
                self.experiment.add_scalars(tag, {key: _number(key, item) for key, item in value.items()}, step)
            else:
                self.experiment.add_scalar(tag, _number(name, value), step)

    @rank_zero_only
    def log_hyperparams(
        self,
        params: dict[str, Any] | Namespace | None = None,
        metrics: Mapping[str, Any] | float | None = None,
        step: int | None = None,
    ) -> None:
        """Write hyperparameters, nested ones as ``outer/inner``.

        Args:
            params: a mapping or namespace.
            metrics: what to show beside them, by name; a number is called ``hp_metric``.
            step: step of those metrics.
        """
        self.hparams.update(plain_hyperparameters(params))
        shown: dict[str, Any] = {}
        if metrics is not None:
            shown = dict(metrics) if isinstance(metrics, Mapping) else {"hp_metric": metrics}
        elif self._default_hp_metric:
            shown = {"hp_metric": -1}
        if not shown:
            return
        from torch.utils.tensorboard.summary import hparams

        self.log_metrics(shown, step)
        numbers = {name: _number(name, value) for name, value in shown.items()}
        writer = self.experiment._get_file_writer()  # the public add_hparams would open a second file
        for summary in hparams(_scalars(plain_hyperparameters(params)), numbers):  # type: ignore[no-untyped-call]
            writer.add_summary(summary, step)

    @rank_zero_only
    def log_graph(self, model: Steps, input_array: Tensor | None = None) -> None:
        """Write the graph of an attached module, if that was asked for; on ``example_input_array`` by default."""
        if not self._log_graph:
            return
        example = model.example_input_array if input_array is None else input_array
        if not isinstance(example, (Tensor, tuple)):
            warn(
                f"log_graph=True, but the example input of {type(model).__name__} is a {type(example).__name__}; "
                "set self.example_input_array to a tensor, or a tuple of the arguments of forward"
            )
            return
        # Tracing runs the module (in evaluation mode), which must not draw random numbers of the run.
        with isolate_rng(), torch.no_grad():
            self.experiment.add_graph(model, move_to_device(example, model.device))

    @rank_zero_only
    def save(self) -> None:
        """Write ``hparams.yaml`` once there are hyperparameters; TensorBoard writes events on its own."""
        path = os.path.join(self.log_dir, self.NAME_HPARAMS_FILE)
        if self._experiment is not None and not place_of(path).exists(path):
            text = yaml.safe_dump(self.hparams, sort_keys=True)
            with self._destination().naming():
                place_of(path).write(path, lambda stream: stream.write(text.encode()))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write out everything; further records open the file again."""
        if self._experiment is not None:
            self.save()
            self._experiment.flush()
            self._experiment.close()

    def _destination(self) -> Destination:
        return self._files_below(os.path.expanduser(os.path.expandvars(self.root_dir)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_experiment": None}


def _number(name: str, value: object) -> object:
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else value
    if isinstance(value, (str, bytes, Tensor)) or not hasattr(value, "__float__"):
        raise ValueError(
            f"TensorBoardLogger got {name}={value!r}; log a number, a tensor with one element, or a dict of them"
        )
    return value


def _scalars(params: Mapping[str, Any], outer: str = "") -> dict[str, Any]:
    """Nested hyperparameters under flat names; what TensorBoard has no type for as text."""
    found: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            found.update(_scalars(value, f"{outer}{key}/"))
        else:
            found[f"{outer}{key}"] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return found
