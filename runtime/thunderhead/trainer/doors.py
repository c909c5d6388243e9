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
``show_metrics(values)``        let other callbacks and the job's status see values without logging them
``ended_together(exception)``   every rank raises this after the same step
``save_ended(path, ...)``       write a file of the moment at which a run failed
==============================  ======================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from thunderhead.checkpoint.alone import write_ended
from thunderhead.core.ending import SIGTERMException
from thunderhead.job.link import Ask
from thunderhead.run import stopping as ending
from thunderhead.trainer.properties import TrainerProperties


class Doors(TrainerProperties):
    """Doors for callbacks, the user's as well as ours."""

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

    def show_metrics(self, values: Mapping[str, Tensor]) -> None:
        """Let callbacks, and in a job its status, see these values, which the loggers get from whoever calls."""
        self._metrics.show(dict(values))

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
