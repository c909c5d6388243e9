"""One logged value: its newest step value and its reduction over the epoch.

Sums are Python floats added in the order of logging, so neither the interval at which device values are read back nor a
resume can change their bits. On a device, a value waits as a detached clone until it is folded in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from thunderhead.results.metric_objects import Metric

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

REDUCTIONS: Final = ("mean", "sum", "min", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSpec:
    """What one name means in one hook, after defaults; two calls with the same name there must agree on it."""

    on_step: bool
    on_epoch: bool
    prog_bar: bool
    logger: bool
    reduction: str
    enable_graph: bool
    sync_dist: bool
    group: ProcessGroup | None
    dataloader_idx: int | None
    add_dataloader_idx: bool
    metric_attribute: str | None
    rank_zero_only: bool

    @property
    def forked(self) -> bool:
        """Logged per step and per epoch, so the names get a suffix."""
        return self.on_step and self.on_epoch


class Entry:
    """Base of all entries: newest value and names.

    Attributes:
        call: the arguments of the last ``self.log`` call as given, compared to skip all checks in the next one.
        last: newest value (a float, or a tensor while it is on a device or has a graph).
        fresh: logged since the last reset.
        quick: tensors logged under it are on the host, and nothing but ``add`` is to be done with them.
        weighted: whether ``add`` uses its weight.
        wide: the values are 64-bit floats.
        synced: the reduction over all ranks, once it was made.
    """

    __slots__ = ("call", "fresh", "hook", "last", "name", "pending", "quick", "spec", "synced", "wide")
    weighted = False

    def __init__(self, hook: str, name: str, spec: LogSpec) -> None:
        self.hook = hook
        self.name = name
        self.spec = spec
        self.call: tuple[Any, ...] = ()
        self.last: Tensor | float | None = None
        self.fresh = False
        self.quick = False
        self.wide = False
        self.synced: float | None = None
        self.pending: list[tuple[Tensor, int]] = []

    def add(self, value: float, weight: int) -> None:
        """Take one host value; ``weight`` is the number of samples behind it."""
        self.last = value
        self.fresh = True

    def accumulate(self, value: float, weight: int) -> None:
        """Fold in a value that was deferred, whose turn it is; newer ones may have been logged since."""

    def defer(self, value: Tensor, weight: int) -> None:
        """Take one device value (already detached and cloned) without waiting for the device."""
        self.pending.append((value, weight))
        self.last = value
        self.fresh = True
        self.synced = None

    def compute(self) -> Tensor | float | None:
        """The epoch's value on this rank."""
        return self.last

    def reset(self) -> None:
        """Forget the epoch."""
        self.fresh = False
        self.synced = None
        self.pending.clear()

    def label(self, on_step: bool) -> str:
        """Name shown to loggers, with the fork's and the loader's suffix."""
        name = f"{self.name}_{'step' if on_step else 'epoch'}" if self.spec.forked else self.name
        return name + self.suffix

    @property
    def suffix(self) -> str:
        """``/dataloader_idx_N`` where several loaders log the same name."""
        spec = self.spec
        return f"/dataloader_idx_{spec.dataloader_idx}" if _is_suffixed(spec) else ""

    def state(self) -> tuple[float, float]:
        """``(total, weight)``, the accumulators."""
        return (0.0, 0.0)

    def restore(self, total: float, weight: float) -> None:
        """Take the accumulators back."""


class Mean(Entry):
    """Mean over the epoch, weighted by batch size."""

    __slots__ = ("total", "weight")
    weighted = True

    def __init__(self, hook: str, name: str, spec: LogSpec) -> None:
        super().__init__(hook, name, spec)
        self.total = 0.0
        self.weight: float = 0

    def add(self, value: float, weight: int) -> None:
        self.last = value
        self.total += value * weight
        self.weight += weight
        self.fresh = True
        self.synced = None

    def accumulate(self, value: float, weight: int) -> None:
        self.total += value * weight
        self.weight += weight

    def compute(self) -> float:
        return self.total / self.weight if self.weight else math.nan

    def reset(self) -> None:
        super().reset()
        self.total = 0.0
        self.weight = 0

    def state(self) -> tuple[float, float]:
        return (self.total, self.weight)

    def restore(self, total: float, weight: float) -> None:
        self.total, self.weight = total, weight


class Sum(Entry):
    """Sum over the epoch."""

    __slots__ = ("total",)
    neutral = 0.0

    def __init__(self, hook: str, name: str, spec: LogSpec) -> None:
        super().__init__(hook, name, spec)
        self.total = self.neutral

    def add(self, value: float, weight: int) -> None:
        self.last = value
        self.total += value
        self.fresh = True
        self.synced = None

    def accumulate(self, value: float, weight: int) -> None:
        last = self.last
        self.add(value, weight)
        self.last = last

    def compute(self) -> float:
        return self.total

    def reset(self) -> None:
        super().reset()
        self.total = self.neutral

    def state(self) -> tuple[float, float]:
        return (self.total, 0.0)

    def restore(self, total: float, weight: float) -> None:
        self.total = total


class Min(Sum):
    """Smallest value of the epoch; NaN wins, as in torch."""

    __slots__ = ()
    neutral = math.inf

    def add(self, value: float, weight: int) -> None:
        self.last = value
        if value < self.total or value != value:
            self.total = value
        self.fresh = True
        self.synced = None


class Max(Sum):
    """Largest value of the epoch; NaN wins, as in torch."""

    __slots__ = ()
    neutral = -math.inf

    def add(self, value: float, weight: int) -> None:
        self.last = value
        if value > self.total or value != value:
            self.total = value
        self.fresh = True
        self.synced = None


class MetricEntry(Entry):
    """A ``torchmetrics.Metric`` held by reference: it accumulates itself, we compute and reset it."""

    __slots__ = ("computed", "metric")

    def __init__(self, hook: str, name: str, spec: LogSpec, metric: Metric) -> None:
        super().__init__(hook, name, spec)
        self.metric = metric
        self.computed: float | None = None

    def take(self, metric: Metric) -> None:
        """The metric was logged again."""
        self.metric = metric
        cache = metric._forward_cache
        self.last = cache.detach() if isinstance(cache, Tensor) and cache.requires_grad else cache
        self.computed = None
        self.fresh = True

    def compute(self) -> float | None:
        if self.computed is None:
            value = self.metric.compute()
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise ValueError(
                    f"metric logged as {self.name!r} computes {value!r}; log a metric whose compute() is one number, "
                    "or log its parts by name"
                )
            self.computed = value.item()
        return self.computed

    def reset(self) -> None:
        super().reset()
        self.metric.reset()
        self.computed = None


_KINDS: Final[dict[str, type[Entry]]] = {"mean": Mean, "sum": Sum, "min": Min, "max": Max}


def make_entry(hook: str, name: str, spec: LogSpec, metric: Metric | None = None) -> Entry:
    """The entry that does what ``spec`` says."""
    if metric is not None:
        return MetricEntry(hook, name, spec, metric)
    return _KINDS[spec.reduction](hook, name, spec) if spec.on_epoch else Entry(hook, name, spec)


def as_number(value: Tensor | float) -> float:
    """A logged value as a Python float, with or without a graph."""
    return float(value.item()) if isinstance(value, Tensor) else value


def as_tensor(value: Tensor | float, wide: bool) -> Tensor:
    """A logged value the way ``callback_metrics`` shows it: a tensor without dimensions, at least 32 bits wide."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() and value.dtype.itemsize >= 4 else value.to(torch.float32)
    default = torch.get_default_dtype()
    narrow = default if default in (torch.float32, torch.float64) else torch.float32
    return torch.tensor(value, dtype=torch.float64 if wide else narrow)


def _is_suffixed(spec: LogSpec) -> bool:
    return spec.add_dataloader_idx and spec.dataloader_idx is not None
