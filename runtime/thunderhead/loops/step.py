"""One training batch: forward, backward, and the optimizer's step where it is due.

Automatic optimisation, in the order of the contract::

    if the batch steps:
        optimizer_step(closure)          closure = what follows up to on_after_backward
            training_step
            on_before_zero_grad, optimizer_zero_grad     first batch of an accumulation window only
            on_before_backward, backward, on_after_backward
            on_before_optimizer_step, configure_gradient_clipping
    else:
        the closure alone, inside no_sync
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from thunderhead.exceptions import MisconfigurationException
from thunderhead.hooks.overriding import is_called
from thunderhead.loops import optimizing
from thunderhead.loops.signature import takes
from thunderhead.run.run import Run
from thunderhead.run.training import Training


class Step:
    """What both ways of optimising share: calling ``training_step`` and reading its output."""

    def __init__(self, run: Run, training: Training) -> None:
        module = run.module
        self._module, self._training = module, training
        self._strategy, self._precision, self._sink = run.strategy, run.precision, run.sink
        self._position = training.position
        self._function = run.timed(run.action_of(run.strategy, "training_step"), run.strategy.training_step(module))
        self._context = run.precision.forward_context if run.precision.has_context else None
        self._with_index = takes(module.training_step, "batch_idx", position=1)
        self._entries = training.results.tables["training_step"]
        self._keeps_loss = run.in_job


class AutomaticStep(Step):
    """Automatic optimisation with the one optimizer of the module."""

    def __init__(self, run: Run, training: Training) -> None:
        super().__init__(run, training)
        hooks, module, optimizers = run.hooks, self._module, training.optimizers
        assert optimizers.steps is not None, "a fit makes its optimizers before its loop"
        self._hooks, self._options, self._steps = hooks, run.options, optimizers.steps
        self._before_zero_grad = hooks["on_before_zero_grad"]
        self._before_backward = hooks["on_before_backward"]
        self._after_backward = hooks["on_after_backward"]
        self._before_step = hooks["on_before_optimizer_step"]
        self._batch_end = hooks["on_train_batch_end"]
        self._optimizer: Optimizer = optimizers.plain[0]
        self._wrapped = optimizers.wrapped[0]
        # Profiled, all of it goes the long way, which has a function to measure for each part.
        measured = run.profiler is not None
        self._own_step = is_called("optimizer_step", module) or measured
        self._own_zero_grad = is_called("optimizer_zero_grad", module) or measured
        scales = optimizing.scales_gradients(run.precision)
        self._own_backward = is_called("backward", module) or scales or measured
        self._plain = not self._own_step and optimizing.evaluates_closure_first(self._optimizer, run.precision)
        self._step_by_module = run.timed(run.action_of(module, "optimizer_step"), module.optimizer_step)
        self._zero_by_module = run.timed(run.action_of(module, "optimizer_zero_grad"), module.optimizer_zero_grad)
        self._backward = run.timed(run.action_of(run.strategy, "backward"), run.precision.backward)
        self._closure = self._run_noted
        self._ran = False
        self._batch: tuple[Any, ...] = ()
        self._batch_idx = 0
        self._first = True
        self._divide_by = 1
        self._outputs: dict[str, Any] = {}

    def __call__(self, batch: object, batch_idx: int, *, steps: bool, divide_by: int) -> dict[str, Any]:
        """Train on one batch.

        Args:
            batch: on its device.
            batch_idx: its number in the epoch.
            steps: whether the optimizer steps after it.
            divide_by: accumulation factor; the loss is divided by it.

        Returns:
            ``{"loss": detached loss, **extras}``, or ``{}`` when ``training_step`` returned None or nobody looks.

        Raises:
            MisconfigurationException: ``optimizer_step`` or the optimizer did not call the closure.
        """
        self._batch = (batch, batch_idx) if self._with_index else (batch,)
        self._batch_idx, self._divide_by = batch_idx, divide_by
        self._first = batch_idx % divide_by == 0
        if not steps:
            with self._strategy.no_sync():
                self._run_closure()
        elif self._plain:
            self._run_closure()
            if self._before_step or self._steps.clips or self._options.gradient_clip_val:
                self._steps.before(self._optimizer)
            self._optimizer.step()
        else:
            self._sink.enter("optimizer_step")
            self._ran = False
            self._step_by_module(self._position.epoch, batch_idx, self._wrapped, self._closure)
            if not self._ran:
                raise MisconfigurationException(optimizing.closure_was_left_out(self._module, self._optimizer))
        if steps:
            self._position.step += 1
        self._batch = ()
        return self._outputs

    def _run_noted(self) -> Tensor | None:
        self._ran = True
        return self._run_closure()

    def _run_closure(self) -> Tensor | None:
        sink = self._sink
        # The same as sink.enter("training_step"), without a look-up: this is once per step.
        sink.hook, sink.entries = "training_step", self._entries
        if self._context is None:
            output = self._function(*self._batch)
        else:
            with self._context():
                output = self._function(*self._batch)
        if output.__class__ is Tensor and self._divide_by == 1 and not self._batch_end:
            loss: Tensor | None = output
        else:
            loss = self._loss_of(output)
        if self._keeps_loss:
            self._training.loss = None if loss is None else loss.data
        if self._first:
            if self._before_zero_grad:
                self._hooks.call("on_before_zero_grad", self._optimizer)
            if self._own_zero_grad:
                self._zero_grad_by_module()
            else:
                self._optimizer.zero_grad()
        if loss is None:
            return None
        if self._before_backward:
            self._hooks.call("on_before_backward", loss)
        if self._own_backward:
            self._sink.enter("backward")
            self._backward(loss, self._module)
        else:
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
        if self._after_backward:
            self._hooks.call("on_after_backward")
        return loss

    def _loss_of(self, output: object) -> Tensor | None:
        """The loss to differentiate, and ``_outputs`` for ``on_train_batch_end``."""
        extras: dict[str, Any] | None = None
        if output.__class__ is not Tensor:
            if output is None:
                optimizing.step_without_loss(self._strategy.world_size)
                self._outputs = {}
                return None
            if isinstance(output, dict):
                extras = output
            output = optimizing.loss_in(output)
        loss: Tensor = output
        if self._divide_by > 1:
            loss = loss / self._divide_by
        if self._batch_end:
            self._outputs = {**extras} if extras else {}
            self._outputs["loss"] = loss.detach().clone()
        return loss

    def _zero_grad_by_module(self) -> None:
        self._sink.enter("optimizer_zero_grad")
        self._zero_by_module(self._position.epoch, self._batch_idx, self._optimizer)
