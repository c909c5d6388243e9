"""What a callback may ask of the Trainer beyond reading it; the built-in ones need no more.

==============================  ======================================================================================
``stop_together()``             end training early, where every rank comes to the same conclusion at the same moment
``stop_after_agreement()``      end training early, where one rank alone may have come to it
``clock_says(ask, is_up)``      one answer for all ranks to whether a time is up
``validates_once_per_epoch``    validation comes at the end of every epoch and nowhere else
``validates_by_clock``          a duration says when it comes
``validation_follows``          it comes right after the batch that just ended
``has_validated``               it has run in this fit, outside of the sanity check
``logger_step``                 the x axis of the training records
``records_now``                 values of this batch go to the loggers; an evaluation's are counted from its start
``batches_evaluated``           how many batches an evaluation has done, the x axis of what callbacks log of each
``log_record(values, step)``    send values to them as the trainer does
``show_metrics(values)``        let other callbacks and the job's status see values without logging them
``trains_others()``             which parameters require gradients has changed
``forward_only``                an epoch's batches go through ``training_step`` and nothing is optimised
``asks_for_loaders``            module or datamodule gives the loaders, rather than who called the entry point
``forget_loaders()``            ask for them again
``keep_predictions()``          let ``predictions`` hold what ``predict_step`` returns, though nobody asked for it
``predictions``                 what it has returned in the running prediction
``batch_indices(batch, ...)``   which samples of the dataset are in a batch of it
``ended_together(exception)``   every rank raises this after the same step
``save_ended(path, ...)``       write a file of the moment at which a run failed
==============================  ======================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from thunderhead.checkpoint.alone import write_ended
from thunderhead.core.ending import SIGTERMException
from thunderhead.core.state import TrainerFn
from thunderhead.job.link import Ask
from thunderhead.run import stopping as ending
from thunderhead.run.evaluation import Evaluation
from thunderhead.run.training import Training
from thunderhead.trainer.inner_parts import InnerPart
from thunderhead.trainer.properties import TrainerProperties

_STAGES: Final = {
    TrainerFn.FITTING: "train",
    TrainerFn.VALIDATING: "val",
    TrainerFn.TESTING: "test",
    TrainerFn.PREDICTING: "predict",
}


class Doors(TrainerProperties):
    """Doors for callbacks, the user's as well as ours."""

    _accelerator_connector = InnerPart()
    _callback_connector = InnerPart()
    _data_connector = InnerPart()

    def stop_together(self) -> None:
        """End training early; to be called on every rank at the same moment, as at an epoch's end."""
        if self._run is not None:
            ending.stop_together(self._run)

    def stop_after_agreement(self) -> None:
        """End training early, after a step that all ranks agree on; one rank may call it alone."""
        if self._run is not None:
            ending.stop_after_agreement(self._run)

    def clock_says(self, ask: Ask, is_up: bool) -> bool:
        """Whether something due by the clock is to be done now, on all ranks after the same step.

        Args:
            ask: for what; each is asked for by one callback only.
            is_up: what this rank's clock says; rank 0's counts.
        """
        return is_up if self._run is None else ending.clock_says(self._run, ask, is_up)

    @property
    def validates_once_per_epoch(self) -> bool:
        """Validation comes at the end of every epoch and nowhere else."""
        return self._options.validates_once_per_epoch

    @property
    def validates_by_clock(self) -> bool:
        """``val_check_interval`` is a duration."""
        return self._options.val_check_seconds is not None

    @property
    def validation_follows(self) -> bool:
        """Whether validation runs right after the batch that just ended."""
        return self._fit_loop is not None and self._fit_loop.validation_follows

    @property
    def has_validated(self) -> bool:
        """Whether validation has run in the newest fit, outside of the sanity check."""
        return self._training.validation.has_run

    @property
    def logger_step(self) -> int:
        """The x axis of the training records: batches after which an optimizer stepped."""
        return self._training.position.log_step

    @property
    def default_root_dir_source(self) -> str:
        """Who decided on ``default_root_dir``, in words."""
        return self._options.root_argument

    @property
    def records_now(self) -> bool:
        """Whether this is a batch whose step values go to the loggers."""
        every = self._options.log_every_n_steps
        evaluation = self._running_evaluation
        done = self.logger_step + 1 if evaluation is None else evaluation.batches
        return bool(every) and (self.should_stop or done % every == 0)

    @property
    def batches_evaluated(self) -> int:
        """Batches evaluated so far, with the one in hand; those of validations inside a fit since its epoch began."""
        evaluation = self._running_evaluation
        return 0 if evaluation is None else evaluation.batches_in_epoch

    @property
    def _running_evaluation(self) -> Evaluation | None:
        if self.training or self.state.fn is None:
            return None
        fitting = self.state.fn is TrainerFn.FITTING
        return self._training.validation if fitting else self._evaluations.get(self.state.fn)

    def log_record(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Send one record to the loggers.

        Args:
            values: by name.
            step: the x axis; by default that of the training records, which also say the epoch.
        """
        position = self._training.position
        if step is None:
            self._metrics.send(dict(values), position.log_step, position.epoch)
        else:
            self._metrics.send(dict(values), step, None)

    def show_metrics(self, values: Mapping[str, Tensor]) -> None:
        """Let callbacks, and in a job its status, see these values, which the loggers get from whoever calls."""
        self._metrics.show(dict(values))

    def trains_others(self) -> None:
        """Parameters were frozen or thawed: ranks share the gradients of those that require one from now on.

        To be called on every rank, in ``on_fit_start`` or ``on_train_epoch_start``.
        """
        if self._run is None:
            return
        self._run.strategy.wrap(self._run.module)
        if self._fit_loop is not None:
            self._fit_loop.renew_step()

    @property
    def forward_only(self) -> bool:
        """Whether batches go through ``training_step`` alone: no backward, no step, neither of schedulers.

        To be set in ``on_train_epoch_start``, or in ``on_train_start`` by who goes on in the midst of such an epoch; it
        holds until it is taken back there, or the fit ends.
        """
        return self._training.epoch.forward_only

    @forward_only.setter
    def forward_only(self, wanted: bool) -> None:
        self._training.epoch.forward_only = wanted

    @property
    def asks_for_loaders(self) -> bool:
        """Whether the loaders of the running entry point come from the module or the datamodule."""
        run = self._run
        return run is not None and run.given.get(_STAGES[run.fn]) is None

    def forget_loaders(self) -> None:
        """Ask for the loaders again, in ``on_fit_start`` or an evaluation's ``on_<kind>_start``: they would differ."""
        fn = self.state.fn
        if fn is TrainerFn.FITTING:
            _forget(self._training)
            _forget(self._training.validation)
        elif fn is not None:
            _forget(self._evaluations[fn])

    def keep_predictions(self) -> None:
        """Keep what ``predict_step`` returns, on the CPU; to be called before the batches of a prediction begin."""
        if self.state.fn is TrainerFn.PREDICTING:
            self._evaluations[TrainerFn.PREDICTING].keep_predictions = True

    @property
    def predictions(self) -> list[Any]:
        """One entry per batch of the newest prediction, as far as they are kept; lists of them for several loaders."""
        carried = self._evaluations.get(TrainerFn.PREDICTING)
        found: list[Any] = [] if carried is None else carried.predictions
        return found[0] if len(found) == 1 else found

    def batch_indices(self, batch_idx: int, dataloader_idx: int = 0) -> list[Any] | None:
        """Which samples of the dataset are in a batch of the newest prediction, on this rank.

        Returns:
            Their indices, as the loader's sampler gave them; None where a loader has no sampler.
        """
        carried = self._evaluations.get(TrainerFn.PREDICTING)
        return None if carried is None or carried.data is None else carried.data.indices(dataloader_idx, batch_idx)

    def ended_together(self, exception: BaseException) -> bool:
        """Whether every rank raises this after the same step, as after SIGTERM; of any other exception nobody knows."""
        return self.world_size > 1 and self.received_sigterm and isinstance(exception, SIGTERMException)

    def save_ended(self, path: str, *, together: bool, weights_only: bool = False) -> None:
        """Write the running moment, in a callback's ``on_exception``.

        Args:
            path: file or URL; rank 0's counts.
            together: every rank calls this, so each gives its share; else rank 0 alone does, and asks nobody.
            weights_only: leave out optimizers, schedulers and callbacks.

        Raises:
            OSError: it could not be written.
        """
        assert self._run is not None, "a run has ended"
        write_ended(self._run, self._training, path, together=together, weights_only=weights_only)


def _forget(holder: Training | Evaluation) -> None:
    if holder.data is not None:
        holder.data.let_go()
    holder.data = None
