"""Where ``self.log`` drops its values: the entries of the hook that runs now.

``self.log`` is called several times per step, so the way of a repeated call (one dictionary look-up, one comparison of
the arguments with those of the last call, one addition) stands in ``LightningModule.log`` itself. What comes here is
everything else: new names, other arguments, values on an accelerator, metrics.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thunderhead.exceptions import MisconfigurationException
from thunderhead.ranks import Ranks
from thunderhead.results.entry import REDUCTIONS, Entry, LogSpec, MetricEntry
from thunderhead.results.metric_objects import Metric, MetricsOf, is_metric
from thunderhead.results.results import Results
from thunderhead.results.rules import resolve_levels
from thunderhead.warning import warn_once

_FUNCTIONS: dict[object, str] = {
    torch.mean: "mean",
    torch.sum: "sum",
    torch.min: "min",
    torch.max: "max",
    sum: "sum",
    min: "min",
    max: "max",
}


class Sink:
    """The running hook and its entries.

    Args:
        ranks: values may be reduced over them.
        loggers: where values go; none at all is worth a warning where somebody asks for one.
        module: holds the metrics that are logged; None before there is one.
        records: ``barebones`` records nothing.

    Attributes:
        results: entries of the loop that runs now; ``None`` outside of one, and in predict.
        hook: name of the hook that runs now.
        entries: entries of that hook by name; ``None`` where it may not log.
        loggers: where values go.
    """

    __slots__ = ("_module", "_ranks", "_records", "entries", "hook", "loggers", "results")

    def __init__(
        self, ranks: Ranks, loggers: Sequence[object], module: nn.Module | None = None, *, records: bool = True
    ) -> None:
        self._ranks, self.loggers, self._module, self._records = ranks, loggers, module, records
        self.results: Results | None = None
        self.hook = ""
        self.entries: dict[str, Entry] | None = None

    def enter(self, hook: str) -> None:
        """Values logged from here on belong to ``hook``."""
        self.hook = hook
        self.entries = None if self.results is None else self.results.tables.get(hook)

    def close(self) -> None:
        """No loop runs any more, so nothing may log."""
        self.results = self.entries = None

    def log(self, name: str, value: object, batch_size: int | None, call: tuple[Any, ...]) -> None:
        """Record one value; ``call`` holds the other arguments of ``LightningModule.log`` in their order."""
        if not self._records:
            warn_once("self.log records nothing with Trainer(barebones=True)")
            return
        entries = self.entries
        entry = entries.get(name) if entries is not None else None
        if entry is None or entry.call != call:
            entry = self._register(name, value, call)
        if isinstance(entry, MetricEntry):
            entry.take(value)  # type: ignore[arg-type]  # what is logged under a metric's name is one
            return
        results, spec = self.results, entry.spec
        assert results is not None
        number = self._convert(entry, value)
        if spec.sync_dist and spec.on_step:
            # What is reduced over the epoch stays this rank's own; the epoch's end reduces it over ranks.
            synced = self._synced_step(entry, number)
        weight = 1
        if entry.weighted:
            weight = batch_size if batch_size is not None else results.batch_size or results.infer_batch_size()
        if isinstance(number, float):
            entry.add(number, weight)
        else:
            entry.defer(number, weight)
        if spec.sync_dist and spec.on_step:
            entry.last = synced
        elif spec.enable_graph and isinstance(value, Tensor):
            entry.last = value

    def _synced_step(self, entry: Entry, value: Tensor | float) -> Tensor | float:
        """The step value over all ranks: one collective per call, as the user asked for with ``sync_dist``."""
        ranks = self._ranks
        assert self.results is not None
        if not self.results.together:
            warn_once(
                f"self.log({entry.name!r}, on_step=True, sync_dist=True): ranks have different numbers of batches, or "
                "loaders that do not tell it, so its step values stay this rank's own; those of the epoch are "
                "reduced over all"
            )
            return value
        tensor = value.clone() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        group = ranks.data_group if entry.spec.group is None else entry.spec.group
        reduced: Tensor = ranks.reduce(tensor.to(ranks.root_device), group=group, reduce_op=entry.spec.reduction)
        return reduced.item() if reduced.is_cpu else reduced

    def _convert(self, entry: Entry, value: object) -> Tensor | float:
        """A float, or a detached clone on its device."""
        if isinstance(value, Tensor):
            if value.numel() != 1:
                raise ValueError(_not_a_number(entry.name, value))
            if not value.is_floating_point():
                warn_once(
                    f"self.log({entry.name!r}) in {entry.hook} got {value.dtype}, reduced as a float; "
                    "convert it yourself, or use self.logger.log_metrics for values that need no reduction"
                )
            entry.wide = value.dtype == torch.float64
            on_host = self.results is None or self.results.host
            if on_host or value.device.type != self._ranks.root_device.type:
                return value.item() if value.is_floating_point() else float(value.item())
            return value.detach().clone().reshape(())
        if isinstance(value, numbers.Number):
            return float(value)  # type: ignore[arg-type]  # complex numbers raise here, which says it well
        raise ValueError(_not_a_number(entry.name, value))

    def _register(self, name: str, value: object, call: tuple[Any, ...]) -> Entry:
        """Check the arguments of a call that differs from the last one, and find or make its entry."""
        if not isinstance(name, str):
            raise MisconfigurationException(
                f"self.log({name!r}, ...): a name is a string; write self.log('name', value)"
            )
        on_step, on_epoch = resolve_levels(self.hook, call[2], call[3])
        if self.results is None:
            raise MisconfigurationException(
                f"self.log({name!r}) outside of a loop of the trainer: nothing collects values"
            )
        add_dataloader_idx = call[8]
        if add_dataloader_idx and "/dataloader_idx_" in name:
            raise MisconfigurationException(
                f"self.log({name!r}): the suffix /dataloader_idx_N is added for you; drop it, or pass "
                "add_dataloader_idx=False"
            )
        if isinstance(value, dict):
            raise ValueError(f"self.log({name!r}) got a dict; use self.log_dict, of numbers by name")
        if call[1] is True and not self.loggers:
            warn_once(f"self.log({name!r}, logger=True), but no logger is configured; pass Trainer(logger=...)")
        metric = value if is_metric(value) else None
        spec = LogSpec(
            on_step=on_step,
            on_epoch=on_epoch,
            prog_bar=bool(call[0]),
            logger=True if call[1] is None else bool(call[1]),
            reduction=reduction_name(call[4]),
            enable_graph=bool(call[5]),
            # What one rank alone logs has nobody to be reduced with.
            sync_dist=bool(call[6]) and not call[10] and self._ranks.world_size > 1,
            group=call[7],
            dataloader_idx=self.results.dataloader_idx,
            add_dataloader_idx=bool(add_dataloader_idx),
            metric_attribute=None if metric is None else call[9] or self._attribute_of(name, metric),
            rank_zero_only=bool(call[10]),
        )
        entry = self.results.register(self.hook, name, spec, metric)
        entry.call = call
        plain = not spec.enable_graph and not (spec.sync_dist and on_step) and metric is None
        # The first value decides on the type; later ones of another type go the long way, which looks at each.
        entry.quick = plain and self.results.host and isinstance(value, Tensor) and value.is_floating_point()
        return entry

    def _attribute_of(self, name: str, metric: Metric) -> str:
        """Name of the module's attribute that holds ``metric``, so that a resumed run finds it again."""
        module = self._module
        assert module is not None, "results are collected for a module"
        known = MetricsOf(module)
        path = known.path_of(metric)
        if path is None:
            raise MisconfigurationException(
                f"self.log({name!r}) got a metric that is no attribute of {type(module).__name__}; assign it in "
                "__init__, "
                f"or pass metric_attribute=... (known: {sorted(known)})"
            )
        return path


def reduction_name(reduce_fx: object) -> str:
    """``mean``, ``sum``, ``min`` or ``max``.

    Raises:
        MisconfigurationException: anything else; a metric object is the way to another reduction.
    """
    known = getattr(reduce_fx, "name", None) if type(reduce_fx).__name__ == "RedOpType" else reduce_fx  # torch's own
    name = known.lower() if isinstance(known, str) else _FUNCTIONS.get(known)
    name = "mean" if name == "avg" else name
    if name not in REDUCTIONS:
        raise MisconfigurationException(
            f"self.log(reduce_fx={reduce_fx!r}) is none of {', '.join(REDUCTIONS)}; "
            "for another reduction log a torchmetrics.Metric"
        )
    return str(name)


def _not_a_number(name: str, value: object) -> str:
    shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    return f"self.log({name!r}, ...) got {shape}; log a number, a tensor of one element or a torchmetrics.Metric"
