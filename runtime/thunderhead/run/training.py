"""What a fit carries from step to step, and a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from thunderhead.core.position import Next, Position
from thunderhead.data.source import TrainingData
from thunderhead.hooks.table import Slot
from thunderhead.results.results import Results
from thunderhead.run.evaluation import Evaluation, evaluation
from thunderhead.run.left import Left
from thunderhead.run.optimizers import Optimizers
from thunderhead.run.reloading import LoadedIn


@dataclass(slots=True)
class Epoch:
    """The running epoch, as far as its position does not say it.

    Attributes:
        begun: a fit is inside of it, so hooks that write a file do so in its midst.
        is_last_batch: the batch being trained is its last.
        skip: the rest of it is not trained on.
        forward_only: its batches go through ``training_step`` and nothing else, so that nothing is optimised.
        cut: why a resumed one is not trained on: "cut" as its place is none in the data of now, or "ended".
        ends: its last batch is done, and what follows that is not.
        monitors_to_come: at its end, the functions of hooks that watch a metric and were not called yet.
        validated: after how many batches of the run validation last ran.
        batches_before: batches of the epoch before it.
        steps_before: optimizer steps done before it.
        schedules_before: scheduler steps done before it.
    """

    begun: bool = False
    is_last_batch: bool = False
    skip: bool = False
    forward_only: bool = False
    cut: str = ""
    ends: bool = False
    monitors_to_come: Slot = field(default_factory=Slot)
    validated: int = -1
    batches_before: int = 0
    steps_before: int = 0
    schedules_before: int = 0


@dataclass(slots=True)
class Training:
    """Made anew for each fit; see ``following`` for what goes on from the one before.

    Attributes:
        position: where it stands; always the same record, so that others may hold it.
        results: what the module logs in training.
        optimizers: with their schedulers.
        validation: inside of this fit.
        left: what a restore leaves for later moments.
        loaded_in: in which epochs loaders were asked for.
        epoch: the running one.
        data: the training loaders, once loaded.
        loss: of the newest batch, without the graph behind it, where a job is to look at it.
        val_check_batch: batches between validations, once the number of training batches is known; None where a clock
            says when.
        counts_over_epochs: they are counted over epochs, rather than from each epoch's start.
    """

    position: Position
    results: Results
    optimizers: Optimizers
    validation: Evaluation
    left: Left = field(default_factory=Left)
    loaded_in: LoadedIn = field(default_factory=LoadedIn)
    epoch: Epoch = field(default_factory=Epoch)
    data: TrainingData | None = None
    loss: Tensor | None = None
    val_check_batch: float | None = None
    counts_over_epochs: bool = False


def new_training(*, host: bool, reload_every: int = 0) -> Training:
    """A fit that has not begun.

    Args:
        host: values are logged on the CPU.
        reload_every: epochs until loaders are asked for again; 0 for never.
    """
    return Training(
        Position(),
        Results(training=True, host=host),
        Optimizers(),
        evaluation("validation", fitting=True),
        loaded_in=LoadedIn(reload_every),
    )


def following(before: Training, *, host: bool, reload_every: int) -> Training:
    """The fit after ``before`` on the same Trainer; everything that is not said here begins anew.

    ================================================  =================================================================
    goes on                                           begins anew
    ================================================  =================================================================
    epochs completed, optimizer and logger steps      the epoch that was interrupted, from its first batch
    the x axis of validation's step values            loaders, and where they stand
    what callbacks keep, the gradient scaler          optimizers and schedulers, from ``configure_optimizers``
    the module, as it is; in the modes it had         metrics, gradients, why and whether training was to stop
    ================================================  =================================================================

    It makes no difference whether the run before was completed, failed or was interrupted, nor whether module and data
    are the same. An epoch of which only hooks at its end were left counts as completed. A checkpoint takes the place
    of the whole left side.
    """
    made = new_training(host=host, reload_every=reload_every)
    made.position = _between_epochs(before)
    made.validation.seen = list(before.validation.seen)
    # Files tell of the epoch before the running one, which this fit has not trained.
    made.epoch.batches_before, made.epoch.steps_before = before.epoch.batches_before, before.epoch.steps_before
    return made


def _between_epochs(before: Training) -> Position:
    p, ends = before.position, before.epoch.ends
    if p.next is Next.EPOCH:
        return replace(p)
    samples = samples_of(before) if ends else p.samples
    epoch = p.epoch + 1 if ends else p.epochs_trained
    return Position(epoch, batches=p.batches, step=p.step, log_step=p.log_step, samples=samples)


def samples_of(training: Training) -> int:
    """Samples this rank has trained on in the whole run; those of loaders that do not tell are missing."""
    p, data = training.position, training.data
    counted = data is None or p.next is Next.EPOCH_END
    return p.samples + (0 if counted or data is None else data.samples(p.batch))


def accumulating(training: Training, accumulate_grad_batches: int) -> bool:
    """Inside a window of batches whose gradients are added up: no job checkpoint holds those."""
    return training.position.batch % accumulate_grad_batches != 0 and not training.epoch.is_last_batch
