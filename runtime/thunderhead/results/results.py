"""All entries of one loop, and the views that loggers, callbacks and the bar get of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from thunderhead.exceptions import MisconfigurationException
from thunderhead.results.entry import Entry, LogSpec, MetricEntry, as_number, as_tensor, make_entry
from thunderhead.results.host_copy import HostCopy
from thunderhead.results.metric_objects import Metric
from thunderhead.results.rules import RULES
from thunderhead.tensors import batch_size_of, map_tensors
from thunderhead.warning import warn_once

# Device values are read back in groups of this many; any other number gives the same bits.
_FOLD_AFTER = 64


@dataclass(slots=True)
class Views:
    """Values by name: for loggers, for callbacks (both as tensors) and for the progress bar (as they were logged).

    Making one waits for no device; only who shows the bar turns its values into numbers.
    """

    log: dict[str, Tensor] = field(default_factory=dict)
    callback: dict[str, Tensor] = field(default_factory=dict)
    bar: dict[str, Any] = field(default_factory=dict)


class Results:
    """What was logged in one loop (training, validation or test) since its last reset.

    Attributes:
        training: step values are visible to callbacks, as only in training.
        host: values live on the CPU, so reading one waits for nothing.
        batch: the batch being worked on, to infer how many samples stand behind a value.
        in_batches: batches are being worked on, so reads see step values; else reduced ones.
        together: all ranks are to work on equally many batches of every loader, as far as loaders know their lengths,
            so that step values can be reduced over them.
        kept_at: number of batches at which step values were last remembered.
        tables: entries for the current loader, by hook and name; hooks that cannot log are missing.
        dataloader_idx: which of several evaluation loaders is being read; ``None`` with a single one.
    """

    def __init__(self, *, training: bool, host: bool = True) -> None:
        self.training = training
        self.host = host
        self.batch: object = None
        self.batch_size: int | None = None
        self.dataloader_idx: int | None = None
        self.in_batches = False
        self.together = True
        self.kept_at = -1
        self._entries: list[Entry] = []
        self._uncollected = 0
        self._flying: tuple[list[tuple[Entry, Any, int]], HostCopy | None] | None = None
        self._loaders: dict[int | None, dict[str, dict[str, Entry]]] = {}
        self.tables: dict[str, dict[str, Entry]] = {}
        self.use_loader(None)

    def use_loader(self, index: int | None) -> None:
        """Values logged from here on belong to this loader."""
        self.dataloader_idx = index
        if index not in self._loaders:
            self._loaders[index] = {hook: {} for hook in RULES}
        self.tables = self._loaders[index]

    def entries(self) -> list[Entry]:
        """All entries, in the order in which they were first logged."""
        return self._entries

    def register(self, hook: str, name: str, spec: LogSpec, metric: Metric | None = None) -> Entry:
        """The entry for ``name`` in ``hook``, made at the first call.

        Raises:
            MisconfigurationException: the name was logged there with other arguments.
        """
        table = self.tables[hook]
        found = table.get(name)
        if found is None and not spec.add_dataloader_idx:
            found = self._in_other_loader(hook, name)
        if found is None:
            found = self._add(table, make_entry(hook, name, spec, metric))
        elif found.call == () and _accumulates_alike(found.spec, spec):
            # Restored and not logged since: over whom it is reduced is for this run to say, which may have other ranks.
            found.spec = spec
        elif found.spec != spec or (metric is None) == isinstance(found, MetricEntry):
            raise MisconfigurationException(
                f"self.log({name!r}) was called twice in {hook} with different arguments "
                f"({_difference(found.spec, spec)}); log it the same way or under another name"
            )
        return found

    def _add(self, table: dict[str, Entry], entry: Entry) -> Entry:
        table[entry.name] = entry
        self._entries.append(entry)
        return entry

    def adopt(self, hook: str, name: str, spec: LogSpec, metric: Metric | None = None) -> Entry:
        """The entry for what only other ranks logged, without a value of this one's."""
        if spec.dataloader_idx not in self._loaders:
            self._loaders[spec.dataloader_idx] = {hook: {} for hook in RULES}
        table = self._loaders[spec.dataloader_idx][hook]
        entry = table.get(name) or self._add(table, make_entry(hook, name, spec, metric))
        # What rank 0 alone logs, it alone shows.
        entry.last, entry.fresh = None, not spec.rank_zero_only
        return entry

    def _in_other_loader(self, hook: str, name: str) -> Entry | None:
        return next((entry for entry in self._entries if entry.hook == hook and entry.name == name), None)

    def take_size_of(self, batch: object) -> None:
        """A step that takes its batches itself has taken this one."""
        self.batch_size = batch_size_of(batch)[0]

    def infer_batch_size(self) -> int:
        """Samples in the current batch, looked up once per batch.

        Raises:
            MisconfigurationException: there is a batch, but no tensor in it.
        """
        if self.batch_size is None:
            batch = self.batch
            if batch is None:
                return 1
            if batch.__class__ is Tensor and batch.ndim:
                self.batch_size = batch.shape[0]
                return batch.shape[0]
            size, ambiguous = batch_size_of(batch)
            if size is None:
                raise MisconfigurationException(
                    f"no tensor in a batch of type {type(self.batch).__name__} to infer its size from; "
                    "pass self.log(..., batch_size=...)"
                )
            if ambiguous:
                warn_once(
                    f"tensors of the batch differ in their first dimension; taking {size} as the batch size. "
                    "Pass self.log(..., batch_size=...) to say it"
                )
            self.batch_size = size
        return self.batch_size

    def views(self, on_step: bool) -> Views:
        """Everything visible now: step values inside an epoch, reduced values once its last batch is done."""
        found = Views()
        for entry in self.entries():
            spec = entry.spec
            if not entry.fresh or spec.dataloader_idx != self.dataloader_idx:
                continue
            value = visible_value(entry, on_step)
            if value is None:
                continue
            label = entry.label(on_step)
            tensor = as_tensor(value, entry.wide)
            if spec.logger:
                found.log[label] = tensor
            if self.training or (spec.on_epoch and not on_step):
                found.callback[entry.name + entry.suffix] = tensor
                found.callback[label] = tensor
            if spec.prog_bar:
                found.bar[label] = value
        return found

    def step_tensors(self) -> tuple[list[str], list[Any]]:
        """Labels and newest step values, as they are, of every entry that goes to loggers."""
        found = [e for e in self._entries if e.fresh and e.spec.on_step and e.spec.logger and e.last is not None]
        here = [entry for entry in found if entry.spec.dataloader_idx == self.dataloader_idx]
        return [entry.label(True) for entry in here], [entry.last for entry in here]

    def step_values(self) -> dict[str, float]:
        """Newest step value of every entry that goes to loggers, as numbers; for the logging interval."""
        index = self.dataloader_idx
        return {
            entry.label(True): as_number(entry.last)
            for entry in self.entries()
            if entry.fresh and entry.spec.on_step and entry.spec.logger and entry.spec.dataloader_idx == index
            if entry.last is not None
        }

    def collect(self) -> None:
        """Once per batch on a device: every so often, start to bring values over, and take in what came."""
        self._uncollected += 1
        if self._uncollected >= _FOLD_AFTER:
            self._land()
            self._launch()

    def fold(self) -> None:
        """Take in every value that is still on the device. Waits for the device."""
        self._land()
        self._launch()
        self._land()

    def _launch(self) -> None:
        """Start to bring over what waits; values keep the order in which they were logged."""
        self._uncollected = 0
        waiting = [(entry, value, weight) for entry in self._entries for value, weight in entry.pending]
        for entry in self._entries:
            entry.pending = []
        tensors = [value for _, value, _ in waiting if isinstance(value, Tensor)]
        self._flying = (waiting, HostCopy(tensors) if tensors else None) if waiting else None

    def _land(self) -> None:
        """Take in what was launched."""
        flying, self._flying = self._flying, None
        if flying is None:
            return
        waiting, copy = flying
        numbers = iter(copy.numbers() if copy is not None else ())
        for entry, value, weight in waiting:
            entry.accumulate(next(numbers) if isinstance(value, Tensor) else value, weight)

    def reset(self) -> None:
        """Forget everything logged; names and their arguments stay known."""
        for entry in self.entries():
            entry.reset()
        self._flying = None
        self.batch = None
        self.batch_size = None

    def state_dict(self) -> list[dict[str, Any]]:
        """Accumulators of every value logged since the last reset, as plain data (metrics' own states as tensors)."""
        self.fold()
        return [_entry_state(entry) for entry in self.entries() if entry.fresh]

    def load_state_dict(self, state: list[dict[str, Any]], metrics: Mapping[str, Any]) -> None:
        """Take accumulators back; ``metrics`` finds a Metric by its attribute in the module."""
        self._entries.clear()
        self._loaders.clear()
        self.use_loader(None)
        for saved in state:
            spec = LogSpec(**saved["spec"], group=None)
            metric = metrics[spec.metric_attribute] if spec.metric_attribute is not None else None
            entry = self._add(self.tables[saved["hook"]], make_entry(saved["hook"], saved["name"], spec, metric))
            entry.last, entry.wide, entry.fresh = saved["last"], saved["wide"], True
            entry.restore(saved["total"], saved["weight"])
            if isinstance(entry, MetricEntry):
                _restore_metric(entry.metric, saved["metric"])
                entry.last = getattr(metric, "_forward_cache", None)


def visible_value(entry: Entry, on_step: bool) -> Tensor | float | None:
    """The value to show now, ``None`` where this entry has none at this level."""
    spec = entry.spec
    if on_step:
        return entry.last if spec.on_step else None
    if not spec.on_epoch:
        return None
    if spec.sync_dist or isinstance(entry, MetricEntry):
        return entry.synced
    return entry.compute()


def _accumulates_alike(one: LogSpec, other: LogSpec) -> bool:
    return replace(one, sync_dist=other.sync_dist, group=other.group) == other


def _difference(one: LogSpec, other: LogSpec) -> str:
    names = [name for name in LogSpec.__slots__ if getattr(one, name) != getattr(other, name)]
    return ", ".join(f"{name}: {getattr(one, name)!r} then {getattr(other, name)!r}" for name in names) or "its type"


def _entry_state(entry: Entry) -> dict[str, Any]:
    spec = {name: getattr(entry.spec, name) for name in LogSpec.__slots__ if name != "group"}
    total, weight = entry.state()
    saved: dict[str, Any] = {
        "hook": entry.hook,
        "name": entry.name,
        "spec": spec,
        "last": None if entry.last is None else as_number(entry.last),
        "wide": entry.wide,
        "total": total,
        "weight": weight,
        "metric": _metric_state(entry.metric) if isinstance(entry, MetricEntry) else None,
    }
    return saved


def _metric_state(metric: Metric) -> dict[str, Any]:
    return {
        "states": {name: getattr(metric, name) for name in metric._defaults},
        "update_count": metric._update_count,
        "forward_cache": metric._forward_cache,
    }


def _restore_metric(metric: Metric, saved: dict[str, Any]) -> None:
    # Read on the host, while the metric was brought to its device with the module.
    saved = map_tensors(saved, lambda tensor: tensor.to(metric.device))
    for name, value in saved["states"].items():
        setattr(metric, name, value)
    metric._update_count = saved["update_count"]
    metric._forward_cache = saved["forward_cache"]
