"""When learning-rate schedulers step in automatic optimisation."""

from __future__ import annotations

from collections.abc import Sequence

from thunderhead.core.optimization import LRSchedulerConfig
from thunderhead.core.position import Position
from thunderhead.exceptions import MisconfigurationException
from thunderhead.hooks.table import HookTable
from thunderhead.results.metrics import Metrics
from thunderhead.warning import warn


class Schedulers:
    """Steps each scheduler at its interval; those that watch a metric later, when validation has produced it.

    Args:
        configs: of all of them.
        automatic: not in manual optimisation, where the user steps them.
        position: where training stands.
        hooks: the module's ``lr_scheduler_step`` is one.
        metrics: that those of plateaus watch.

    Attributes:
        any: whether there is any to step.
        steps: how often one was stepped, over all of them and the whole run.
    """

    def __init__(
        self,
        configs: Sequence[LRSchedulerConfig],
        position: Position,
        hooks: HookTable,
        metrics: Metrics,
        *,
        automatic: bool = True,
    ) -> None:
        self._automatic = automatic
        self._position, self._hooks, self._metrics = position, hooks, metrics
        self.steps = 0
        self.step_these(configs)

    def step_these(self, configs: Sequence[LRSchedulerConfig]) -> None:
        """From now on these."""
        self._configs = configs if self._automatic else ()
        self.any = bool(self._configs)

    def after_batch(self, *, steps: bool, last: bool) -> None:
        """Step those that watch nothing: where the optimizer stepped, and per epoch on the last batch."""
        if steps:
            self.step("step", plateau=False)
        if last:
            self.step("epoch", plateau=False)

    def step(self, interval: str, *, plateau: bool) -> None:
        """Step every scheduler of this kind and interval whose frequency is met."""
        position = self._position
        count = position.batch if interval == "step" else position.epoch + 1
        for config in self._configs:
            if config.reduce_on_plateau is not plateau or config.interval != interval or count % config.frequency:
                continue
            monitored = None
            if plateau:
                monitored = self._monitored(config)
                if monitored is None:
                    continue
            self._hooks.call_module("lr_scheduler_step", config.scheduler, monitored)
            self.steps += 1

    def _monitored(self, config: LRSchedulerConfig) -> object:
        metrics = self._metrics.callback
        value = metrics.get(config.monitor or "")
        if value is None:
            message = (
                f"{type(config.scheduler).__name__} watches {config.monitor!r}, which was not logged; "
                f"there are {sorted(metrics)}. Set 'monitor' in the lr_scheduler dict"
            )
            if config.strict:
                raise MisconfigurationException(message)
            warn(f"{message}; no step this time (strict=False)", RuntimeWarning)
        return value
