"""torch's profiler: operators on host and device, and traces of them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

import torch
from torch import nn
from torch.autograd.profiler import emit_nvtx as nvtx_ranges
from torch.autograd.profiler import record_function
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerAction, ProfilerActivity, schedule, tensorboard_trace_handler
from torch.utils.hooks import RemovableHandle

from thunderhead import arguments as args
from thunderhead.exceptions import MisconfigurationException, did_you_mean
from thunderhead.profilers.profiler import Profiler
from thunderhead.warning import warn, warn_once

_STEPS: Final = {
    "fit": "run_training_batch",
    "validate": "validation_step",
    "test": "test_step",
    "predict": "predict_step",
}
_OURS: Final = ("export_to_flame_graph", "metric")


class PyTorchProfiler(Profiler):
    """Measures operators with ``torch.profiler``, as its schedule says: by default batches 3 to 5, after a warm-up.

    What counts as a step is a batch of the entry point: of training in ``fit``, which includes validation in between.

    Args:
        dirpath: directory for report and traces; the log directory of the run by default.
        filename: name of the report, without ``.txt``; None: it is printed.
        group_by_input_shapes: tell operators apart by the shapes of what they got; needs ``record_shapes=True``.
        emit_nvtx: mark operators for NVIDIA's profilers instead of measuring them.
        export_to_chrome: whether traces are written that browsers and TensorBoard show.
        row_limit: rows of the report; -1 for all.
        sort_by_key: column that the report is sorted by.
        record_module_names: whether the parts of the module are named in traces.
        table_kwargs: further arguments for the table of the report.
        **profiler_kwargs: arguments of ``torch.profiler.profile``; also ``export_to_flame_graph`` and ``metric``.

    Raises:
        MisconfigurationException: an argument that cannot mean anything.
    """

    STEP_FUNCTIONS: Final = frozenset(("training_step", "validation_step", "test_step", "predict_step"))
    AVAILABLE_SORT_KEYS: Final = frozenset(
        (
            "cpu_time",
            "cuda_time",
            "cpu_time_total",
            "cuda_time_total",
            "cpu_memory_usage",
            "cuda_memory_usage",
            "self_cpu_memory_usage",
            "self_cuda_memory_usage",
            "count",
        )
    )

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        group_by_input_shapes: bool = False,
        emit_nvtx: bool = False,
        export_to_chrome: bool = True,
        row_limit: int = 20,
        sort_by_key: str | None = None,
        record_module_names: bool = True,
        table_kwargs: Mapping[str, Any] | None = None,
        **profiler_kwargs: Any,
    ) -> None:
        super().__init__(dirpath=dirpath, filename=filename)
        _check_keywords(profiler_kwargs, table_kwargs or {})
        self._by_shapes = bool(group_by_input_shapes and profiler_kwargs.get("record_shapes"))
        if group_by_input_shapes and not self._by_shapes:
            warn(
                "PyTorchProfiler(group_by_input_shapes=True) groups nothing, as no shapes are recorded; pass "
                "record_shapes=True too"
            )
        self._emit_nvtx = emit_nvtx
        self._export_to_chrome = export_to_chrome
        self._flame_graph = bool(profiler_kwargs.pop("export_to_flame_graph", False))
        self._metric = profiler_kwargs.pop("metric", "self_cpu_time_total")
        self._row_limit = row_limit
        self._activities = profiler_kwargs.pop("activities", None) or _default_activities()
        key = sort_by_key or ("cuda" if ProfilerActivity.CUDA in self._activities else "cpu") + "_time_total"
        self._sort_by: str = args.one_of("sort_by_key", key, tuple(sorted(self.AVAILABLE_SORT_KEYS)))
        self._record_module_names = record_module_names
        self._table_kwargs = dict(table_kwargs or {})
        self._kwargs = {"schedule": schedule(wait=1, warmup=1, active=3, repeat=1), **profiler_kwargs}
        self._kwargs["with_stack"] = bool(profiler_kwargs.get("with_stack")) or self._flame_graph
        self.profiler: torch.profiler.profile | AbstractContextManager[object] | None = None
        self.function_events: EventList | None = None
        self._outer: AbstractContextManager[object] | None = None
        self._names: ModuleNames | None = None
        self._recording: dict[str, record_function] = {}

    def start(self, action_name: str) -> None:
        """An action begins; the first one starts torch's profiler."""
        if self.profiler is None:
            self._begin()
        if self._record_module_names and self._names is None and self._lightning_module is not None:
            self._names = ModuleNames(self._lightning_module)  # known once a run is set up
            self._names.__enter__()
        if action_name not in self._recording:
            record = record_function(f"[pl][profile]{action_name}")
            record.__enter__()  # type: ignore[no-untyped-call]  # torch's
            self._recording[action_name] = record

    def stop(self, action_name: str) -> None:
        """It has ended; after a step the schedule goes on."""
        record = self._recording.pop(action_name, None)
        if record is not None:
            record.__exit__(None, None, None)
        if isinstance(self.profiler, torch.profiler.profile) and self._ends_step(action_name):
            self.profiler.step()

    def summary(self) -> str:
        """The table of operators; nothing where none was measured."""
        self._end()
        if self.function_events is None or not len(self.function_events):
            return ""
        averages = self.function_events.key_averages(  # type: ignore[no-untyped-call]  # torch's
            group_by_input_shapes=self._by_shapes
        )
        table = averages.table(sort_by=self._sort_by, row_limit=self._row_limit, **self._table_kwargs)
        return self._stats_to_str({"records": table})

    def teardown(self, stage: str | None) -> None:
        """The run has ended, and was reported."""
        self._end()
        self.function_events = None
        super().teardown(stage)

    def _ends_step(self, action_name: str) -> bool:
        if self._stage is None:  # without a Trainer
            return any(action_name.endswith(name) for name in self.STEP_FUNCTIONS)
        return action_name.endswith(_STEPS.get(self._stage, "_step"))

    def _begin(self) -> None:
        if self._emit_nvtx:
            self._outer = torch.cuda.profiler.profile()
            self._outer.__enter__()
            self.profiler = nvtx_ranges()  # type: ignore[no-untyped-call]  # torch's
            self.profiler.__enter__()  # type: ignore[no-untyped-call]  # torch's
            return
        arguments = {"on_trace_ready": self._write_trace, **self._kwargs, "activities": self._activities}
        self.profiler = torch.profiler.profile(**arguments)
        self.profiler.__enter__()  # type: ignore[no-untyped-call]  # torch's

    def _end(self) -> None:
        for action in list(self._recording):
            self._recording.pop(action).__exit__(None, None, None)
        if self.profiler is not None:
            running, self.profiler = self.profiler, None
            running.__exit__(None, None, None)
            if isinstance(running, torch.profiler.profile):
                self.function_events = _events(running)
        if self._outer is not None:
            self._outer.__exit__(None, None, None)
            self._outer = None
        if self._names is not None:
            self._names.__exit__(None, None, None)
            self._names = None

    def _write_trace(self, profiler: torch.profiler.profile) -> None:
        if self.dirpath is None:
            warn_once("PyTorchProfiler writes no trace, for it has no directory; pass dirpath")
            return
        if self._export_to_chrome:
            tensorboard_trace_handler(self.dirpath, self._prepare_filename(extension=""))(profiler)
        if self._flame_graph:
            os.makedirs(self.dirpath, exist_ok=True)
            profiler.export_stacks(os.path.join(self.dirpath, self._prepare_filename(extension=".stack")), self._metric)


class ModuleNames:
    """In this context the parts of a module are named in what torch's profiler records.

    Args:
        model: whose parts.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._handles: list[RemovableHandle] = []
        self._records: dict[str, list[record_function]] = {}

    def __enter__(self) -> ModuleNames:
        for name, module in self._model.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):
                label = f"[pl][module]{type(module).__module__}.{type(module).__name__}: {name}"
                self._handles.append(module.register_forward_pre_hook(partial(self._begin, label)))
                self._handles.append(module.register_forward_hook(partial(self._end, label), always_call=True))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _begin(self, label: str, module: nn.Module, inputs: object) -> None:
        record = record_function(label)
        record.__enter__()  # type: ignore[no-untyped-call]  # torch's
        self._records.setdefault(label, []).append(record)

    def _end(self, label: str, module: nn.Module, inputs: object, output: object) -> None:
        if self._records.get(label):
            self._records[label].pop().__exit__(None, None, None)


def _events(profiler: torch.profiler.profile) -> EventList | None:
    if profiler.profiler is None or profiler.profiler.kineto_results is None:
        return None  # the schedule was never so far
    found: EventList = profiler.events()  # type: ignore[no-untyped-call]  # torch's
    return found


def _default_activities() -> list[ProfilerActivity]:
    cuda = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    return [ProfilerActivity.CPU, *cuda]


def _check_keywords(given: Mapping[str, object], table: Mapping[str, object]) -> None:
    known = [*_names(torch.profiler.profile.__init__), *_OURS]
    for name in given:
        if name not in known:
            raise MisconfigurationException(
                f"PyTorchProfiler has no argument {name!r}, and neither has torch.profiler.profile."
                f"{did_you_mean(name, known)}"
            )
    of_table = [name for name in _names(EventList.table) if name not in ("sort_by", "row_limit")]
    for name in table:
        if name not in of_table:
            raise MisconfigurationException(
                f"PyTorchProfiler: table_kwargs={{{name!r}: ...}} must be of {', '.join(of_table)}; sort_by_key and "
                "row_limit are arguments of their own"
            )
    _check_schedule(given.get("schedule"))


def _check_schedule(given: object) -> None:
    if given is None:
        return
    if not callable(given) or not isinstance(given(0), ProfilerAction):
        raise MisconfigurationException(
            f"PyTorchProfiler: schedule={given!r} must be a function from the number of a step to a ProfilerAction, as "
            "torch.profiler.schedule makes one"
        )


def _names(function: Callable[..., object]) -> Iterable[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]
