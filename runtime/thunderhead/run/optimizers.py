"""The optimizers of a fit: made from ``configure_optimizers``, and what is done around each of their steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from thunderhead.core.optimization import LRSchedulerConfig, parse_configuration
from thunderhead.core.optimizer import LightningOptimizer
from thunderhead.core.position import Position
from thunderhead.hooks.overriding import is_called
from thunderhead.run.optimizer_settings import Made, made
from thunderhead.run.run import Run
from thunderhead.run.schedulers import Schedulers


@dataclass(slots=True)
class Optimizers:
    """None of them until a fit has made some.

    Attributes:
        plain: torch's own, one or several.
        wrapped: as modules see them.
        configs: of their schedulers.
        schedulers: steps those, in automatic optimisation.
        steps: what is done around a step.
        made: the settings they were made with.
    """

    plain: list[Optimizer] = field(default_factory=list)
    wrapped: list[LightningOptimizer] = field(default_factory=list)
    configs: list[LRSchedulerConfig] = field(default_factory=list)
    schedulers: Schedulers | None = None
    steps: OptimizerSteps | None = None
    made: Made = field(default_factory=dict)

    def schedule(self, configs: list[LRSchedulerConfig]) -> None:
        """Take these schedulers in the place of those before, from the next batch on."""
        self.configs = configs
        if self.schedulers is not None:
            self.schedulers.step_these(configs)

    @property
    def scheduler_steps(self) -> int:
        """How often schedulers were stepped."""
        return 0 if self.schedulers is None else self.schedulers.steps


class OptimizerSteps:
    """What comes between backward and an optimizer, and is counted after it.

    Attributes:
        run: the entry point.
        clips: the module has a way of clipping of its own, which is called at each step.
        unstepped: a backward of manual optimisation that no step has used.
    """

    def __init__(self, run: Run, position: Position) -> None:
        module = run.module
        self.run, self._position = run, position
        self.precision, self.strategy, self.module = run.precision, run.strategy, module
        self.clips = is_called("configure_gradient_clipping", module) or is_called("clip_gradients", module)
        self.unstepped = False

    def before(self, optimizer: Optimizer) -> None:
        """Between backward and the optimizer: hooks, then clipping (automatic optimisation only)."""
        hooks, options, module = self.run.hooks, self.run.options, self.module
        if hooks["on_before_optimizer_step"]:
            hooks.call("on_before_optimizer_step", optimizer)
        if (self.clips or options.gradient_clip_val) and module.automatic_optimization:
            hooks.call_module(
                "configure_gradient_clipping", optimizer, options.gradient_clip_val, options.gradient_clip_algorithm
            )

    def after(self) -> None:
        """A wrapped optimizer has stepped; automatic optimisation counts its steps itself."""
        if not self.module.automatic_optimization:
            self._position.step += 1
            self.unstepped = False

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backward of manual optimisation, with its hooks."""
        hooks, sink = self.run.hooks, self.run.sink
        self.strategy.before_manual_backward(loss)
        self.unstepped = True
        hooks.call("on_before_backward", loss)
        before = sink.hook
        sink.enter("backward")
        self.precision.backward(loss, self.module, *args, **kwargs)
        sink.enter(before)
        hooks.call("on_after_backward")


def make_optimizers(run: Run, position: Position) -> Optimizers:
    """What ``configure_optimizers`` of the run's module returns, ready to step from ``position``."""
    module = run.module
    plain, configs = parse_configuration(run.hooks.call_module("configure_optimizers"), module)
    steps = OptimizerSteps(run, position)
    run.strategy.attend_optimizers(plain, in_job=run.in_job)
    return Optimizers(
        plain,
        [LightningOptimizer(optimizer, steps) for optimizer in plain],
        configs,
        Schedulers(configs, position, run.hooks, run.metrics, automatic=module.automatic_optimization),
        steps,
        made(plain, configs),
    )
