"""Evaluation: validation inside fit, and the entry points validate, test and predict.

::

    on_X_model_eval                       the mode of every submodule is remembered first
    on_X_start, on_X_epoch_start
    for each loader, each batch:
        on_X_batch_start, X_step, on_X_batch_end
    on_X_epoch_end
    metrics reduced and logged
    on_X_end                              not for predict: its on_predict_epoch_end, on_predict_end
    on_X_model_train if overridden, else the remembered modes
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

from thunderhead.core.state import RunningStage
from thunderhead.core.steps import Steps
from thunderhead.data.loader_warnings import warn_of_empty
from thunderhead.data.source import EvaluationData
from thunderhead.exceptions import MisconfigurationException
from thunderhead.hooks.overriding import is_overridden
from thunderhead.loops.own_iteration import DataloaderIter
from thunderhead.loops.signature import check_dataloader_idx, refuse_removed, takes, wants_iterator
from thunderhead.profilers.timed import timed_iterator
from thunderhead.results.results import Results
from thunderhead.rng import capture_rng
from thunderhead.run.evaluation import Evaluation
from thunderhead.run.loaders import load_evaluation_data
from thunderhead.run.run import Run
from thunderhead.run.stopping import end_by_sigterm
from thunderhead.run.training import Training, accumulating
from thunderhead.run.transfer import transfer_of
from thunderhead.tensors import map_tensors


class EvaluationLoop:
    """Runs one kind of evaluation over all its loaders.

    Args:
        run: the entry point.
        training: where training stands: the x axis of records, and the epoch.
        evaluation: what this one carries.
    """

    def __init__(self, run: Run, training: Training, evaluation: Evaluation) -> None:
        self._run = run
        self._training = training
        self._evaluation = evaluation
        self._kind = evaluation.kind

    def let_go(self) -> None:
        """End the loaders' processes."""
        if self._evaluation.data is not None:
            self._evaluation.data.let_go()

    def run(self, *, sanity_batches: float | None = None) -> list[dict[str, float]]:
        """Evaluate every loader once.

        Args:
            sanity_batches: a sanity check of at most this many batches per loader, whose metrics nobody keeps.

        Returns:
            Metrics per loader, by name.
        """
        ours = self._evaluation
        ours.began_with = capture_rng() if self._run.fitting and sanity_batches is None else None
        ours.seen_before, ours.over = list(ours.seen), False
        found = self._evaluate(sanity_batches)
        ours.began_with = None
        return found

    def run_rest(self, due: tuple[str, ...]) -> None:
        """The end of a run whose file was written in ``on_<kind>_end``, when ``due`` had not been called yet."""
        sink, state, hooks, module = self._run.sink, self._run.state, self._run.hooks, self._run.module
        self._evaluation.has_run = self._evaluation.over = True
        rest = hooks[f"on_{self._kind}_end"].only(due)
        modes = {child: child.training for child in module.modules()}
        outer = (sink.results, state.stage)
        sink.results, state.stage = self._evaluation.results, _STAGES[self._kind]
        try:
            with self._grad_context():
                if rest:
                    module.eval()
                    hooks.run(rest, f"on_{self._kind}_end")
                self._back_to_training(modes)
        finally:
            sink.results, state.stage = outer
        self._evaluation.restart_clock()

    def _back_to_training(self, modes: dict[Any, bool]) -> None:
        hook = f"on_{self._kind}_model_train"
        if is_overridden(hook, self._run.module):
            self._run.hooks.call_module(hook)
        else:
            _put_back(modes)

    def _evaluate(self, sanity_batches: float | None) -> list[dict[str, float]]:
        run, ours, sink, state = self._run, self._evaluation, self._run.sink, self._run.state
        data = load_evaluation_data(run, self._training, ours)
        wanted = [min(limit, sanity_batches) for limit in data.limits] if sanity_batches is not None else data.limits
        of_ranks = run.strategy.gather_words(wanted)
        if sanity_batches is None and not all(map(any, zip(*of_ranks, strict=True))):
            self._warn_of_empty(of_ranks)
        # With fewer samples than ranks, one without any still takes part in what the others reduce.
        if not any(sum(of_rank) for of_rank in of_ranks):
            return []
        if ours.results is not None:
            # Streams may differ in what they do not tell: whoever waits in the midst of one might wait for ever.
            told = len(of_ranks) == 1 or not any(map(math.isinf, wanted))
            ours.results.together = told and all(of_rank == wanted for of_rank in of_ranks)
        outer = (sink.results, state.stage)
        sink.results = ours.results
        state.stage = RunningStage.SANITY_CHECKING if sanity_batches is not None else _STAGES[self._kind]
        run.strategy.sync_buffers(run.module)
        try:
            with self._grad_context():
                return self._begin_and_end(data, wanted)
        finally:
            sink.results, state.stage = outer

    def _warn_of_empty(self, of_ranks: list[list[float]]) -> None:
        stage = "val" if self._kind == "validation" else self._kind
        if getattr(self._run.options, f"limit_{stage}_batches") != 0:
            warn_of_empty(of_ranks, stage)

    def _grad_context(self) -> AbstractContextManager[Any]:
        run = self._run
        inference = run.options.inference_mode and not run.fitting and run.strategy.world_size == 1
        return torch.inference_mode() if inference else torch.no_grad()

    def _begin_and_end(self, data: EvaluationData, limits: list[float]) -> list[dict[str, float]]:
        ours, module = self._evaluation, self._run.module
        self._run.hooks.resolve()
        check_dataloader_idx(module, self._kind, several=len(data.feeds) > 1)
        ours.batches_before, ours.batches = ours.batches_in_epoch, 0
        if ours.results is not None:
            ours.results.reset()
            # Within fit the batch that came before is still the running one, until this evaluation's last.
            ours.results.in_batches = self._run.fitting and not self._sanity
        modes = {child: child.training for child in module.modules()}
        try:
            found = self._in_evaluation_mode(data, limits)
        except BaseException:
            # Whatever is run next begins with the module as this one found it; its own hook is for runs that end well.
            _put_back(modes)
            raise
        ours.over = True
        self._back_to_training(modes)
        ours.restart_clock()
        return found

    @property
    def _sanity(self) -> bool:
        return self._run.state.stage is RunningStage.SANITY_CHECKING

    def _in_evaluation_mode(self, data: EvaluationData, limits: list[float]) -> list[dict[str, float]]:
        hooks, kind, results = self._run.hooks, self._kind, self._evaluation.results
        hooks.call_module(f"on_{kind}_model_eval")
        hooks.call(f"on_{kind}_start")
        if self._evaluation.data is not data:
            data = load_evaluation_data(self._run, self._training, self._evaluation)
            limits = data.limits
        hooks.call(f"on_{kind}_epoch_start")
        outputs = [self._loader(data, index, limit) for index, limit in enumerate(limits)]
        if results is not None:
            results.use_loader(None)
        hooks.call(f"on_{kind}_epoch_end")
        found = self._publish(outputs)
        hooks.call(f"on_{kind}_end")
        if results is not None:
            results.reset()
        return found

    # --- one loader ----------------------------------------------------------------------------------------------

    def _loader(self, data: EvaluationData, index: int, limit: float) -> dict[str, float]:
        """All batches of one loader; its metrics as they stand after the last of them."""
        run, results, position = self._run, self._evaluation.results, self._training.position
        several = len(data.feeds) > 1
        iterator = data.begin(index, position.epoch)
        if results is not None:
            results.use_loader(index if several else None)
        self._evaluation.predictions.append([])
        self._batches(iterator, index, limit, several)
        if run.control is not None:
            run.control.in_evaluation(position, index, None)
        if results is None:
            return {}
        results.kept_at = -1
        run.metrics.leave_batches(results, 0)
        if self._sanity:
            run.metrics.settle(results)
            return {}
        views = run.metrics.publish_epoch(results)
        return {name: value.item() for name, value in views.log.items()}

    def _batches(self, iterator: Iterator[Any], index: int, limit: float, several: bool) -> None:
        run, ours, kind, position = self._run, self._evaluation, self._kind, self._training.position
        hooks, control, results, transfer = run.hooks, run.control, ours.results, transfer_of(run)
        iterator = timed_iterator(run.profiler, _NEXT[kind], iterator)
        starts, ends = hooks[f"on_{kind}_batch_start"], hooks[f"on_{kind}_batch_end"]
        step = run.timed(run.action_of(run.strategy, f"{kind}_step"), self._step_function())
        extra = (index,) if several else ()
        own = None
        if wants_iterator(getattr(run.module, f"{kind}_step")):
            own = DataloaderIter(iterator, 0, limit, index, None if results is None else results.take_size_of)
            iterator, step, transfer = own.handed(), own.guarded(step), None
        if results is not None:
            results.in_batches = True
        done, before = 0, ours.batches
        while done < limit:
            if control is not None:
                control.in_evaluation(position, index, done)
            elif run.stop.sigterm and not self._inside_of_a_window():
                end_by_sigterm(run)
            batch = next(iterator, _END)
            if batch is _END:
                break
            if transfer is not None:
                batch = transfer(batch, index)
            if results is not None:
                results.batch, results.batch_size = batch, None
            ours.batches = before + done + 1
            if starts:
                hooks.call(f"on_{kind}_batch_start", batch, done, *extra)
            output = step(batch, done, *(extra if own is None else ()))
            if own is not None:
                if own.ended:
                    ours.batches = before + done
                    break
                batch, done = own.batch, own.taken - 1
                ours.batches = before + own.taken
            if ends:
                hooks.call(f"on_{kind}_batch_end", output, batch, done, *extra)
            if ours.keep_predictions:
                ours.predictions[-1].append(_to_cpu(output))
            self._log_step(results, index)
            done += 1

    def _inside_of_a_window(self) -> bool:
        """In a fit, between two batches whose gradients are added up: a run does not end there."""
        run = self._run
        return run.fitting and accumulating(self._training, run.options.accumulate_grad_batches)

    def _log_step(self, results: Results | None, index: int) -> None:
        ours = self._evaluation
        if results is None:
            return
        results.batch = None
        if self._sanity:
            return
        ours.has_run = True
        while len(ours.seen) <= index:
            ours.seen.append(0)
        values = results.step_values()
        if values:
            self._run.metrics.send(values, ours.seen[index], None)
        ours.seen[index] += 1

    def _step_function(self) -> Callable[..., Any]:
        name = f"{self._kind}_step"
        function = getattr(self._run.module, name)
        with_index = takes(function, "batch_idx", position=1)
        sink, precision = self._run.sink, self._run.precision
        context = precision.forward_context if precision.has_context else None

        def step(batch: object, *indices: int) -> object:
            sink.enter(name)
            arguments = indices if with_index else indices[1:]
            if context is None:
                return function(batch, *arguments)
            with context():
                return function(batch, *arguments)

        return step

    def _publish(self, outputs: list[dict[str, float]]) -> list[dict[str, float]]:
        """Metrics logged at the epoch's end join every loader's; then all of them go to the loggers as one record."""
        metrics, results, position = self._run.metrics, self._evaluation.results, self._training.position
        if results is None:
            return []
        if self._sanity:
            metrics.settle(results)
            return []
        views = metrics.publish_epoch(results)
        at_end = {name: value.item() for name, value in views.log.items()}
        everything: dict[str, float] = {}
        for found in outputs:
            found.update(at_end)
            everything.update(found)
        metrics.send(everything, position.log_step, position.epoch)
        metrics.save_loggers()
        return outputs


def _to_cpu(data: object) -> object:
    return map_tensors(data, lambda value: value.cpu() if isinstance(value, torch.Tensor) else value)


def _put_back(modes: dict[Any, bool]) -> None:
    for child, training in modes.items():
        child.training = training


_END = object()
_NEXT = {
    "validation": "[_EvaluationLoop].val_next",
    "test": "[_EvaluationLoop].test_next",
    "predict": "[_PredictionLoop].predict_next",
}
_STAGES = {
    "validation": RunningStage.VALIDATING,
    "test": RunningStage.TESTING,
    "predict": RunningStage.PREDICTING,
}


def check_evaluation_loop(module: Steps, kind: str, method: str) -> None:
    """Refuse an evaluation for which the module has no step.

    Raises:
        MisconfigurationException: ``<kind>_step`` is not overridden (predict has a default).
        NotImplementedError: a hook that Lightning 2 no longer calls.
        RuntimeError: ``training_step`` wants ``optimizer_idx``, which nobody passes any more.
    """
    refuse_removed(module)
    lacks = module.predict_step is None if kind == "predict" else not is_overridden(f"{kind}_step", module)
    if lacks:
        raise MisconfigurationException(f"{type(module).__name__} has no {kind}_step; Trainer.{method} needs one")
