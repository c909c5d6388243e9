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

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch

from thunderhead.exceptions import MisconfigurationException
from thunderhead.loops.own_iteration import DataloaderIter
from thunderhead.loops.position import Next, Position
from thunderhead.loops.signature import check_dataloader_idx, refuse_removed, takes, wants_iterator
from thunderhead.results.store import Results
from thunderhead.rng import capture_rng
from thunderhead.trainer.hook_table import is_overridden
from thunderhead.trainer.state import RunningStage

if TYPE_CHECKING:
    from thunderhead.data.source import EvaluationData
    from thunderhead.trainer.trainer import Trainer


class EvaluationLoop:
    """Runs one kind of evaluation over all its loaders.

    Attributes:
        kind: validation, test or predict, as in the names of hooks.
        results: what the module logs meanwhile; ``None`` for predict.
        data: the loaders, once loaded.
        has_run: whether it has run outside of a sanity check in this entry point.
        batches: batches of the newest run.
        batches_in_epoch: batches of all runs of the running training epoch.
        began_with: random state before the run within fit that goes on, or that an exception ended.
        seen: step values sent to the loggers by loader, their x axis.
        over: the newest run is over but for the module's way back into training.
    """

    def __init__(self, trainer: Trainer, kind: str) -> None:
        self._trainer = trainer
        self.kind = kind
        self.results = None if kind == "predict" else Results(training=False)
        self.data: EvaluationData | None = None
        self.possible = False
        self.has_run = False
        self.batches = self.batches_in_epoch = 0
        self.began_with: dict[str, Any] | None = None
        self.seen: list[int] = []
        self._seen_before: list[int] = []
        self.over = False
        self._ended_at = time.monotonic()
        self.predictions: list[list[Any]] = []
        self.keep_predictions = False

    def seconds_since_last(self) -> float:
        """Seconds since the last run ended, or since training began."""
        return time.monotonic() - self._ended_at

    def begin_fit(self, *, possible: bool) -> None:
        """Another fit begins: of the one before only the x axis of step values goes on."""
        self.data = self.began_with = None
        self.has_run = False
        self.possible = possible

    def let_go(self) -> None:
        """End the loaders' processes."""
        if self.data is not None:
            self.data.let_go()

    def restart_clock(self) -> None:
        """Training begins now."""
        self._ended_at = time.monotonic()

    def forget(self) -> None:
        """The sanity check is over: nothing of it counts."""
        self.batches = self.batches_in_epoch = 0

    def count_from_here(self) -> None:
        """A training epoch begins."""
        self.batches_in_epoch = 0

    def run(self, *, sanity_batches: float | None = None) -> list[dict[str, float]]:
        """Evaluate every loader once.

        Args:
            sanity_batches: a sanity check of at most this many batches per loader, whose metrics nobody keeps.

        Returns:
            Metrics per loader, by name.
        """
        sanity = sanity_batches is not None
        self.began_with = capture_rng() if self._trainer._fn == "fit" and not sanity else None
        self._seen_before, self.over = list(self.seen), False
        found = self._evaluate(sanity_batches)
        self.began_with = None
        return found

    def seen_at(self, position: Position) -> list[int]:
        """The x axis at ``position``, where a validation may have to be run again."""
        return list(self.seen) if self.began_with is None or position.next is not Next.VALIDATE else self._seen_before

    def run_rest(self, due: tuple[str, ...]) -> None:
        """The end of a run whose file was written in ``on_<kind>_end``, when ``due`` had not been called yet."""
        t, hooks, module = self._trainer, self._trainer._hooks, self._trainer.lightning_module
        self.has_run = self.over = True
        rest = hooks[f"on_{self.kind}_end"].only(due)
        modes = {child: child.training for child in module.modules()}
        outer = (t._sink.results, t._stage, t.state.stage)
        t._sink.results, t._stage, t.state.stage = self.results, self.kind, _STAGES[self.kind]
        try:
            with self._grad_context():
                if rest:
                    module.eval()
                    hooks.run(rest, f"on_{self.kind}_end")
                self._back_to_training(modes)
        finally:
            t._sink.results, t._stage, t.state.stage = outer
        self._ended_at = time.monotonic()

    def _back_to_training(self, modes: dict[Any, bool]) -> None:
        hook = f"on_{self.kind}_model_train"
        if is_overridden(hook, self._trainer.lightning_module):
            self._trainer._hooks.call_module(hook)
        else:
            _put_back(modes)

    def _evaluate(self, sanity_batches: float | None) -> list[dict[str, float]]:
        t = self._trainer
        data = t._load_evaluation_data(self)
        sanity = sanity_batches is not None
        wanted = [min(limit, sanity_batches) for limit in data.limits] if sanity_batches is not None else data.limits
        of_ranks = t.strategy.gather_words(wanted)
        # With fewer samples than ranks, one without any still takes part in what the others reduce.
        if not any(sum(of_rank) for of_rank in of_ranks):
            return []
        if self.results is not None:
            self.results.together = all(of_rank == wanted for of_rank in of_ranks)
        outer = (t._sink.results, t._stage, t.state.stage)
        t._sink.results, t._stage = self.results, "sanity" if sanity else self.kind
        if not sanity:
            t.state.stage = _STAGES[self.kind]
        t.strategy.sync_buffers(t.lightning_module)
        try:
            with self._grad_context():
                return self._run(data, wanted)
        finally:
            t._sink.results, t._stage, t.state.stage = outer

    def _grad_context(self) -> AbstractContextManager[Any]:
        t = self._trainer
        inference = t.inference_mode and t._fn != "fit" and t.world_size == 1
        return torch.inference_mode() if inference else torch.no_grad()

    def _run(self, data: EvaluationData, limits: list[float]) -> list[dict[str, float]]:
        t, hooks, kind, module = self._trainer, self._trainer._hooks, self.kind, self._trainer.lightning_module
        hooks.resolve()
        check_dataloader_idx(module, kind, several=len(data.feeds) > 1)
        self.batches = 0
        if self.results is not None:
            self.results.reset()
            # Within fit the batch that came before is still the running one, until this evaluation's last.
            self.results.in_batches = t._fn == "fit" and t._stage != "sanity"
        modes = {child: child.training for child in module.modules()}
        try:
            found = self._in_evaluation_mode(data, limits)
        except BaseException:
            # Whatever is run next begins with the module as this one found it; its own hook is for runs that end well.
            _put_back(modes)
            raise
        self.over = True
        self._back_to_training(modes)
        self._ended_at = time.monotonic()
        return found

    def _in_evaluation_mode(self, data: EvaluationData, limits: list[float]) -> list[dict[str, float]]:
        hooks, kind = self._trainer._hooks, self.kind
        hooks.call_module(f"on_{kind}_model_eval")
        hooks.call(f"on_{kind}_start")
        hooks.call(f"on_{kind}_epoch_start")
        outputs = [self._loader(data, index, limit) for index, limit in enumerate(limits)]
        if self.results is not None:
            self.results.use_loader(None)
        hooks.call(f"on_{kind}_epoch_end")
        found = self._publish(outputs)
        hooks.call(f"on_{kind}_end")
        if self.results is not None:
            self.results.reset()
        return found

    # --- one loader ----------------------------------------------------------------------------------------------

    def _loader(self, data: EvaluationData, index: int, limit: float) -> dict[str, float]:
        """All batches of one loader; its metrics as they stand after the last of them."""
        t, results = self._trainer, self.results
        several = len(data.feeds) > 1
        iterator = data.begin(index, t.current_epoch)
        if results is not None:
            results.use_loader(index if several else None)
        self.predictions.append([])
        self._batches(iterator, index, limit, several)
        if t._control is not None:
            t._control.in_evaluation(t._position, index, None)
        if results is None:
            return {}
        results.kept_at = -1
        t._metrics.leave_batches(results, 0)
        if t._stage == "sanity":
            t._metrics.settle(results)
            return {}
        views = t._metrics.publish_epoch(results)
        return {name: value.item() for name, value in views.log.items()}

    def _batches(self, iterator: Iterator[Any], index: int, limit: float, several: bool) -> None:
        t, kind, results, control = self._trainer, self.kind, self.results, self._trainer._control
        hooks, transfer = t._hooks, t._transfer()
        starts, ends = hooks[f"on_{kind}_batch_start"], hooks[f"on_{kind}_batch_end"]
        step = self._step_function()
        extra = (index,) if several else ()
        own = None
        if wants_iterator(getattr(t.lightning_module, f"{kind}_step")):
            own = DataloaderIter(iterator, 0, limit, index)
            iterator, step, transfer = own.handed(), own.guarded(step), None
        if results is not None:
            results.in_batches = True
        done = 0
        while done < limit:
            if control is not None:
                control.in_evaluation(t._position, index, done)
            elif t._sigterm and not (t._fn == "fit" and t.fit_loop.accumulating):
                t.fit_loop.end_by_sigterm()
            batch = next(iterator, _END)
            if batch is _END:
                break
            if transfer is not None:
                batch = transfer(batch, index)
            if results is not None:
                results.batch, results.batch_size = batch, None
            if starts:
                hooks.call(f"on_{kind}_batch_start", batch, done, *extra)
            output = step(batch, done, *(extra if own is None else ()))
            if own is not None:
                if own.ended:
                    break
                batch, done = own.batch, own.taken - 1
            if ends:
                hooks.call(f"on_{kind}_batch_end", output, batch, done, *extra)
            if self.keep_predictions:
                self.predictions[-1].append(t._to_cpu(output))
            self._log_step(results, index)
            done += 1
        self.batches += done
        self.batches_in_epoch += done

    def _log_step(self, results: Results | None, index: int) -> None:
        t = self._trainer
        if results is None:
            return
        results.batch = None
        if t._stage == "sanity":
            return
        self.has_run = True
        while len(self.seen) <= index:
            self.seen.append(0)
        values = results.step_values()
        if values:
            t._metrics.send(values, self.seen[index], of_run=False)
        self.seen[index] += 1

    def _step_function(self) -> Callable[..., Any]:
        t, module = self._trainer, self._trainer.lightning_module
        name = f"{self.kind}_step"
        function = getattr(module, name)
        with_index = takes(function, "batch_idx", position=1)
        sink, precision = t._sink, t.precision_plugin
        context = precision.forward_context if precision.has_context else None

        def step(batch: Any, *indices: int) -> Any:
            sink.enter(name)
            arguments = indices if with_index else indices[1:]
            if context is None:
                return function(batch, *arguments)
            with context():
                return function(batch, *arguments)

        return step

    def _publish(self, outputs: list[dict[str, float]]) -> list[dict[str, float]]:
        """Metrics logged at the epoch's end join every loader's; then all of them go to the loggers as one record."""
        t, results = self._trainer, self.results
        if results is None:
            return []
        if t._stage == "sanity":
            t._metrics.settle(results)
            return []
        views = t._metrics.publish_epoch(results)
        at_end = {name: value.item() for name, value in views.log.items()}
        everything: dict[str, float] = {}
        for found in outputs:
            found.update(at_end)
            everything.update(found)
        t._metrics.send(everything, t._position.log_step)
        t._metrics.save_loggers()
        return outputs


def _put_back(modes: dict[Any, bool]) -> None:
    for child, training in modes.items():
        child.training = training


_END = object()
_STAGES = {
    "validation": RunningStage.VALIDATING,
    "test": RunningStage.TESTING,
    "predict": RunningStage.PREDICTING,
}


def check_evaluation_loop(module: Any, kind: str, method: str) -> None:
    """Refuse an evaluation for which the module has no step.

    Raises:
        MisconfigurationException: ``<kind>_step`` is not overridden (predict has a default).
        NotImplementedError: a hook that Lightning 2 no longer calls.
        RuntimeError: ``training_step`` wants ``optimizer_idx``, which nobody passes any more.
    """
    refuse_removed(module)
    if kind != "predict" and not is_overridden(f"{kind}_step", module):
        raise MisconfigurationException(f"{type(module).__name__} has no {kind}_step; Trainer.{method} needs one")
