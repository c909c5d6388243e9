"""What was logged, on its way to loggers, callbacks and the progress bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thunderhead.job.link import CurveRecorder
from thunderhead.ranks import Ranks
from thunderhead.results.entry import MetricEntry, as_number
from thunderhead.results.host_copy import HostCopy
from thunderhead.results.over_ranks import reduce_over_ranks
from thunderhead.results.results import Results, Views
from thunderhead.results.sink import Sink


class Metrics:
    """The newest value of every name, over all loops of a run.

    Step values are not copied when they are logged; whoever reads gets them from the running loop's entries.

    Args:
        sink: knows which loop runs now.
        ranks: values may be reduced over them.
        loggers: where records go; the list may change while they are sent.
        module: holds the metrics that are logged; None before there is one.
        every_n_steps: training steps between two records of step values; infinite for none.

    Attributes:
        curves: keeps every record, in a job on rank 0.
    """

    def __init__(
        self,
        sink: Sink,
        ranks: Ranks,
        loggers: Sequence[Any],
        module: nn.Module | None = None,
        *,
        every_n_steps: float = math.inf,
    ) -> None:
        self._sink, self._ranks, self.loggers, self._module = sink, ranks, loggers, module
        self._kept = Views()
        self._late: tuple[list[str], list[Any], HostCopy | None, int, int] | None = None
        self.every_n_steps = every_n_steps
        self.curves: CurveRecorder | None = None

    def kept(self) -> Views:
        """A copy of what is remembered."""
        return Views(dict(self._kept.log), dict(self._kept.callback), dict(self._kept.bar))

    def forget_since(self, before: Views) -> None:
        """Remember only what was kept then."""
        self._kept = before

    @property
    def callback(self) -> dict[str, Tensor]:
        """What callbacks see now."""
        return self._merge_current().callback

    @property
    def logged(self) -> dict[str, Tensor]:
        """What loggers were or will be sent, as of now."""
        return self._merge_current().log

    @property
    def bar(self) -> dict[str, float]:
        """What the progress bar shows now."""
        shown = self._merge_current().bar
        shown.update({name: as_number(value) for name, value in shown.items()})
        return shown

    def _merge_current(self) -> Views:
        results = self._sink.results
        if results is not None:
            # Step values are there already, as they were logged; only what is reduced needs all of them on the host.
            if not results.host and not results.in_batches:
                results.fold()
            self.keep(results.views(results.in_batches))
        return self._kept

    def keep(self, views: Views) -> None:
        """Remember these values beyond the reset of their entries."""
        self._kept.log.update(views.log)
        self._kept.callback.update(views.callback)
        self._kept.bar.update(views.bar)

    def show(self, values: dict[str, Tensor]) -> None:
        """Let callbacks see these values too, without looking at what the loop has logged."""
        self._kept.callback.update(values)

    def keep_steps(self, results: Results, batches: int) -> None:
        """Remember step values before another loop logs the same names; once per batch, which ``batches`` counts."""
        if results.in_batches and results.kept_at != batches:
            results.fold()
            results.kept_at = batches
            self.keep(results.views(True))

    def leave_batches(self, results: Results, batches: int) -> None:
        """The last batch is done: from now on reads see reduced values."""
        self.keep_steps(results, batches)
        results.in_batches = False

    def settle(self, results: Results) -> None:
        """A fixed point: reduce over ranks what is to be, in one collective per kind. Every rank comes here alike."""
        results.fold()
        if self._ranks.world_size > 1:
            assert self._module is not None, "results are collected for a module"
            reduce_over_ranks(results, self._ranks, self._module)
            return
        for entry in results.entries():
            if isinstance(entry, MetricEntry) and entry.fresh and entry.spec.on_epoch:
                entry.synced = entry.compute()

    def publish_epoch(self, results: Results) -> Views:
        """Fix the epoch's values: settle, and remember them."""
        self.settle(results)
        views = results.views(False)
        self.keep(views)
        return views

    def log_epoch(self, results: Results, step: int, epoch: int) -> None:
        """Send the epoch's values to the loggers, then forget them."""
        self.send_late()
        self.send({name: value.item() for name, value in results.views(False).log.items()}, step, epoch)
        self.save_loggers()
        results.reset()

    def log_step(self, results: Results, step: int, epoch: int) -> None:
        """Send the newest step values to the loggers."""
        if (not self.loggers and self.curves is None) or self.every_n_steps == math.inf:
            return
        if results.host:
            self.send(results.step_values(), step, epoch)
            return
        # On a device the record is sent when the next one is due: by then its values have come over.
        self.send_late()
        labels, values = results.step_tensors()
        tensors = [value for value in values if isinstance(value, Tensor)]
        if labels:
            self._late = (labels, values, HostCopy(tensors) if tensors else None, step, epoch)

    def send_late(self) -> None:
        """Send the record that waits for its values."""
        late, self._late = self._late, None
        if late is None:
            return
        labels, values, copy, step, epoch = late
        numbers = iter(copy.numbers() if copy is not None else ())
        found = [next(numbers) if isinstance(value, Tensor) else value for value in values]
        self.send(dict(zip(labels, found, strict=True)), step, epoch)

    def send(self, values: dict[str, float], step: int, epoch: int | None) -> None:
        """One record to every logger.

        Args:
            values: by name.
            step: the x axis, which a metric called ``step`` replaces.
            epoch: part of the record, where the x axis is the run's; None where that counts evaluation batches.
        """
        if not values or (not self.loggers and self.curves is None):
            return
        if epoch is not None and "step" in values:
            step, epoch = int(values.pop("step")), None
        if self.curves is not None:
            self.curves.add(values, step, epoch)
        if epoch is not None:
            values.setdefault("epoch", epoch)
        for logger in self.loggers:
            logger.log_metrics(metrics=values, step=step)

    def save_loggers(self) -> None:
        """Let loggers write out what they hold."""
        for logger in self.loggers:
            logger.save()

    def state_dict(self) -> dict[str, Any]:
        """Kept values as plain data, for a job checkpoint.

        The running loop's values are taken in first: what somebody happened to read before, and when, must not show.
        """
        kept = self._merge_current()
        return {
            "log": {name: _plain(value) for name, value in kept.log.items()},
            "callback": {name: _plain(value) for name, value in kept.callback.items()},
            "bar": {name: as_number(value) for name, value in kept.bar.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take kept values back."""
        log = {name: torch.tensor(value, dtype=getattr(torch, dtype)) for name, (value, dtype) in state["log"].items()}
        callback = {
            n: torch.tensor(value, dtype=getattr(torch, dtype)) for n, (value, dtype) in state["callback"].items()
        }
        self._kept = Views(log=log, callback=callback, bar=dict(state["bar"]))


def _plain(value: Tensor) -> tuple[float, str]:
    return value.item(), str(value.dtype).removeprefix("torch.")
