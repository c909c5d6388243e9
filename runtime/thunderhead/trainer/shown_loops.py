"""Loops under Lightning's names: ``trainer.fit_loop`` and its kin, for who reads how far a run is, or sets limits.

They are made when somebody asks for them, over the Trainer's newest records. What nobody would read cannot be set.
Counters are those that a ``.ckpt`` file of this moment holds, but for the batch in hand, which has begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

from thunderhead import arguments as args
from thunderhead.checkpoint.lightning_loops import loops_of
from thunderhead.data.combined import CombinedLoader
from thunderhead.hooks.overriding import is_overridden
from thunderhead.loops.fit import FitLoop
from thunderhead.run.evaluation import Evaluation
from thunderhead.run.loaders import load_evaluation_data, load_training_data
from thunderhead.run.moment import batch_in_hand, position_for_file
from thunderhead.run.options import Options
from thunderhead.run.run import Run
from thunderhead.run.stopping import can_stop_early
from thunderhead.run.training import Training

_ENDS = ("on_train_batch_end", "lr_scheduler_step")
# While these run, whether an evaluation's newest batch is not started, processed, completed yet.
_IN_HAND = {
    "on_evaluation_batch_start": (1, 1, 1),
    "evaluation_step": (0, 1, 1),
    "on_evaluation_batch_end": (0, 0, 1),
}


class HoldsRecords(Protocol):
    """A Trainer, as far as it is shown here."""

    _options: Options
    _run: Run | None
    _training: Training
    _fit_loop: FitLoop | None


@dataclass(frozen=True)
class Counts:
    """Of one kind of thing: epochs, batches, steps.

    Attributes:
        ready: how many have begun.
        started: how many have had their hooks at the start called.
        processed: how many are done.
        completed: how many have had their hooks at the end called, too.
    """

    ready: int = 0
    started: int = 0
    processed: int = 0
    completed: int = 0


@dataclass(frozen=True)
class Tally:
    """Since the Trainer was made, and since the newest epoch began; of epochs both are the same."""

    total: Counts = Counts()
    current: Counts = Counts()
    is_last_batch: bool = False


@dataclass(frozen=True)
class OptimizerProgress:
    """Steps of the optimizer of automatic optimisation, and how often its gradients were freed."""

    step: Tally
    zero_grad: Tally


@dataclass(frozen=True)
class OptimizationProgress:
    """The same, one level up, as Lightning has it."""

    optimizer: OptimizerProgress

    @property
    def optimizer_steps(self) -> int:
        """Steps done."""
        return self.optimizer.step.total.completed


@dataclass(frozen=True)
class Automatic:
    """``automatic_optimization`` of the loop over an epoch's batches."""

    optim_progress: OptimizationProgress


@dataclass(frozen=True)
class Manual:
    """Its ``manual_optimization``."""

    optim_step_progress: Tally


@dataclass(frozen=True)
class Source:
    """Where a loop's loaders come from.

    Attributes:
        instance: the loaders that were passed, else the datamodule or module with the hook.
        name: of the hook.
    """

    instance: Any
    name: str

    def is_module(self) -> bool:
        """Whether a hook gives them."""
        return is_overridden(self.name, self.instance)

    def is_defined(self) -> bool:
        """Whether there are any."""
        return self.instance is not None and (not hasattr(self.instance, self.name) or self.is_module())

    def dataloader(self) -> Iterable[Any]:
        """The loaders, the hook's anew."""
        found = getattr(self.instance, self.name)() if self.is_module() else self.instance
        return cast("Iterable[Any]", found)


class _Limit:
    """One of the Trainer's limits, which is also the loop's."""

    def __init__(self, least: int, *, optional: bool) -> None:
        self._least, self._optional = least, optional

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, loop: _Shown | None, owner: type) -> Any:
        return self if loop is None else getattr(loop._trainer._options, self._name)

    def __set__(self, loop: _Shown, value: object) -> None:
        checked = args.whole_number(self._name, value, least=self._least, optional=self._optional)
        setattr(loop._trainer._options, self._name, checked)


class _Shown:
    """What all of them do."""

    __slots__ = ("_trainer",)
    _trainer: HoldsRecords
    _called: ClassVar[str]
    _settable: ClassVar[tuple[str, ...]] = ()

    def __init__(self, trainer: HoldsRecords) -> None:
        object.__setattr__(self, "_trainer", trainer)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self._settable:
            can = f"what can be set: {', '.join(self._settable)}" if self._settable else "nothing of it can be set"
            raise AttributeError(f"{self._called}.{name} cannot be set, since nothing would read it; {can}")
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        known = sorted(n for kind in type(self).__mro__ for n in vars(kind) if not n.startswith(("__", "_S")))
        public = [n for n in known if not n.startswith("_")]
        raise AttributeError(f"{self._called} has no attribute {name!r}; it has {', '.join(public)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._trainer,)

    def _counted(self, key: str, *inner: str) -> Tally:
        """As a file of this moment would hold it."""
        run, training = self._trainer._run, self._trainer._training
        if run is None or not run.fitting:
            return Tally()
        found = loops_of(run, training, position_for_file(run, training))["fit_loop"][key]
        for name in inner:
            found = found[name]
        return Tally(_counts(found["total"]), _counts(found["current"]), found.get("is_last_batch", False))


class ShownFitLoop(_Shown):
    """``trainer.fit_loop``."""

    __slots__ = ()
    _called = "trainer.fit_loop"
    _settable = ("max_epochs", "min_epochs", "max_steps", "min_steps")
    max_epochs = _Limit(-1, optional=True)
    min_epochs = _Limit(0, optional=True)
    max_steps = _Limit(-1, optional=False)
    min_steps = _Limit(0, optional=True)

    @property
    def epoch_loop(self) -> ShownEpochLoop:
        """The loop over an epoch's batches."""
        return ShownEpochLoop(self._trainer)

    @property
    def epoch_progress(self) -> Tally:
        """Epochs; one whose start hooks are running is ready."""
        found, run = self._counted("epoch_progress"), self._trainer._run
        if run is None or run.sink.hook != "on_train_epoch_start":
            return found
        return Tally(_begun(found.total, 0), _begun(found.current, 0))

    @property
    def batch_idx(self) -> int:
        """Index in its epoch of the newest batch that began; -1 before the first."""
        return self.epoch_loop.batch_idx

    @property
    def total_batch_idx(self) -> int:
        """The same over all epochs."""
        return self.epoch_loop.total_batch_idx

    @property
    def batches_done(self) -> int:
        """Batches trained in the running epoch."""
        return self._trainer._training.position.batch

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch being trained is the epoch's last."""
        return self._trainer._training.epoch.is_last_batch

    @property
    def validation_follows(self) -> bool:
        """Whether validation runs right after the batch that just ended."""
        loop = self._trainer._fit_loop
        return loop is not None and loop.validation_follows

    @property
    def can_stop_early(self) -> bool:
        """Whether ``min_epochs`` and ``min_steps`` are met, so that ``should_stop`` counts."""
        return can_stop_early(self._trainer._options, self._trainer._training.position)

    _can_stop_early = can_stop_early

    @property
    def max_batches(self) -> float:
        """Batches of an epoch; infinite where unknown."""
        data = self._trainer._training.data
        return float("inf") if data is None else data.num_batches

    @property
    def _data_source(self) -> Source:
        return _source(self._trainer, "train", "train_dataloader")

    @property
    def _combined_loader(self) -> CombinedLoader | None:
        data = self._trainer._training.data
        return None if data is None else data.combined

    def setup_data(self) -> None:
        """Load the training data, unless it is there; in a fit."""
        run, training = self._trainer._run, self._trainer._training
        if run is not None and training.data is None:
            training.data = load_training_data(run, training)


class ShownEpochLoop(_Shown):
    """``trainer.fit_loop.epoch_loop``."""

    __slots__ = ()
    _called = "trainer.fit_loop.epoch_loop"
    _settable = ("max_steps", "min_steps", "_batches_that_stepped")
    max_steps = _Limit(-1, optional=False)
    min_steps = _Limit(0, optional=True)

    @property
    def batch_idx(self) -> int:
        """Index in its epoch of the newest batch that began; -1 before the first."""
        return self.batch_progress.current.ready - 1

    @property
    def total_batch_idx(self) -> int:
        """The same over all epochs."""
        return self.batch_progress.total.ready - 1

    @property
    def global_step(self) -> int:
        """Optimizer steps done, over all optimizers."""
        return self._trainer._training.position.step

    @property
    def batch_progress(self) -> Tally:
        """Training batches."""
        found = self._counted("epoch_loop.batch_progress")
        run, training = self._trainer._run, self._trainer._training
        if run is None or batch_in_hand(training) is None or run.sink.hook in _ENDS:
            return found
        started = int(run.sink.hook != "on_train_batch_start")
        return Tally(_begun(found.total, started), _begun(found.current, started), training.epoch.is_last_batch)

    @property
    def scheduler_progress(self) -> Tally:
        """Steps of schedulers."""
        return self._counted("epoch_loop.scheduler_progress")

    @property
    def automatic_optimization(self) -> Automatic:
        """What it counts in automatic optimisation."""
        key = "epoch_loop.automatic_optimization.optim_progress"
        step, freed = (self._counted(key, "optimizer", name) for name in ("step", "zero_grad"))
        return Automatic(OptimizationProgress(OptimizerProgress(step, freed)))

    @property
    def manual_optimization(self) -> Manual:
        """What it counts in manual optimisation."""
        return Manual(self._counted("epoch_loop.manual_optimization.optim_step_progress"))

    @property
    def val_loop(self) -> ShownEvaluationLoop:
        """The validation inside of a fit."""
        return ShownEvaluationLoop(self._trainer, self._trainer._training.validation, "val")

    @property
    def _batches_that_stepped(self) -> int:
        """The x axis of the loggers."""
        return self._trainer._training.position.log_step

    @_batches_that_stepped.setter
    def _batches_that_stepped(self, count: int) -> None:
        self._trainer._training.position.log_step = count


class ShownEvaluationLoop(_Shown):
    """``validate_loop``, ``test_loop`` and ``predict_loop`` of the Trainer, and ``fit_loop.epoch_loop.val_loop``."""

    __slots__ = ("_evaluation", "_stage")
    _called = "an evaluation loop"
    _evaluation: Evaluation | None
    _stage: str

    def __init__(self, trainer: HoldsRecords, evaluation: Evaluation | None, stage: str) -> None:
        super().__init__(trainer)
        object.__setattr__(self, "_evaluation", evaluation)
        object.__setattr__(self, "_stage", stage)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._trainer, self._evaluation, self._stage)

    @property
    def max_batches(self) -> list[float]:
        """Batches per loader."""
        found = self._evaluation
        return [] if found is None or found.data is None else found.data.num_batches

    @property
    def num_dataloaders(self) -> int:
        """How many loaders there are."""
        return len(self.max_batches)

    @property
    def batch_progress(self) -> Tally:
        """Batches of the newest run, and of all of them in the running epoch."""
        found, run = self._evaluation, self._trainer._run
        if found is None:
            return Tally()
        hook = "" if run is None else run.sink.hook or ""
        lags = _IN_HAND.get(hook.replace(found.kind, "evaluation"), (0, 0, 0))
        total, current = (Counts(n, *(n - lag for lag in lags)) for n in (found.batches_in_epoch, found.batches))
        return Tally(total, current)

    @property
    def predictions(self) -> list[Any]:
        """What ``predict_step`` returned."""
        return [] if self._evaluation is None else self._evaluation.predictions

    @property
    def _has_run(self) -> bool:
        return bool(self._evaluation and self._evaluation.has_run)

    @property
    def _data_source(self) -> Source:
        return _source(self._trainer, self._stage, f"{self._stage}_dataloader")

    @property
    def _combined_loader(self) -> CombinedLoader | None:
        found = self._evaluation
        return None if found is None or found.data is None else found.data.combined

    def setup_data(self) -> None:
        """Load the data, unless it is there; in a run."""
        run = self._trainer._run
        if run is not None and self._evaluation is not None:
            load_evaluation_data(run, self._trainer._training, self._evaluation)


def _source(trainer: HoldsRecords, stage: str, hook: str) -> Source:
    run = trainer._run
    if run is None:
        return Source(None, hook)
    if run.given.get(stage) is not None:
        return Source(run.given[stage], hook)
    return Source(run.datamodule if is_overridden(hook, run.datamodule) else run.module, hook)


def _counts(found: dict[str, int]) -> Counts:
    completed, ready = found["completed"], found["ready"]
    return Counts(ready, found.get("started", ready), found.get("processed", completed), completed)


def _begun(counts: Counts, started: int) -> Counts:
    return Counts(counts.ready + 1, counts.started + started, counts.processed, counts.completed)
