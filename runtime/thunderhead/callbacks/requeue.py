"""SLURM's time limit: save when it sends its signal, put the job back into the queue, and go on there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Final

from thunderhead.distributed.batch_systems import SLURMEnvironment
from thunderhead.files.schemes import place_of
from thunderhead.job.link import Ask
from thunderhead.user.callback import Callback
from thunderhead.warning import say, warn

if TYPE_CHECKING:
    from thunderhead.core.hooks import StepOutput
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

_FILE: Final = re.compile(r"hpc_ckpt_(\d+)\.ckpt")


class SLURMRequeue(Callback):
    """What a Trainer adds by itself where ``SLURMEnvironment`` has ``auto_requeue``.

    The handler takes a note; after a step that all ranks agree on, ``hpc_ckpt_<N>.ckpt`` is written into
    ``default_root_dir`` and rank 0 calls ``scontrol requeue``. Started again, fit goes on from that file, whatever
    ``ckpt_path`` says.

    Args:
        environment: of the job.
        environ: the variables.
        call: runs a command; its exit code.
    """

    acts_last_in_batches = True

    def __init__(
        self,
        environment: SLURMEnvironment,
        environ: Mapping[str, str] = os.environ,
        call: Callable[[Sequence[str]], int] = subprocess.call,
    ) -> None:
        self._signal = environment.requeue_signal
        self._environ, self._call = environ, call
        self._asked = False
        self._before: Callable[[int, FrameType | None], object] | int | None = None
        self._listens = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to the signal, unless somebody does already."""
        free = signal.getsignal(self._signal) in (signal.SIG_DFL, None)
        if free and threading.current_thread() is threading.main_thread():
            self._before, self._listens = signal.signal(self._signal, self._note), True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: object, batch_idx: int
    ) -> None:
        """Save and requeue, if the signal came; after the same step on every rank."""
        if not trainer.clock_says(Ask.REQUEUE, self._asked):
            return
        self._asked = False
        for logger in trainer.loggers:
            logger.save()
        path = _next_path(trainer.strategy.tell(trainer.default_root_dir))
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            self._requeue(path)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Put the handler of before back."""
        self._let_go()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the handler of before back."""
        self._let_go()

    def _continues_with(self, trainer: Trainer) -> str | None:
        """The newest file of a job that was requeued; it is a new one where SLURM counts no restart."""
        if self._environ.get("SLURM_RESTART_COUNT", "0") in ("", "0"):
            return None
        directory: str = trainer.strategy.tell(trainer.default_root_dir)
        found = _files(directory)
        return os.path.join(directory, found[max(found)]) if found else None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def _let_go(self) -> None:
        if self._listens:
            signal.signal(self._signal, signal.SIG_DFL if self._before is None else self._before)
            self._listens = False

    def _requeue(self, path: str) -> None:
        task = self._environ.get("SLURM_ARRAY_JOB_ID")
        job = (
            self._environ.get("SLURM_JOB_ID", "") if task is None else f"{task}_{self._environ['SLURM_ARRAY_TASK_ID']}"
        )
        command = ["scontrol", "requeue", job]
        try:
            code = self._call(command)
        except OSError as error:
            warn(
                f"{' '.join(command)} could not be run ({error.strerror}); submit the job again, it goes on from {path}"
            )
            return
        if code == 0:
            say(f"saved {path} and put SLURM job {job} back into the queue")
        else:
            warn(f"{' '.join(command)} ended with {code}; submit the job again with ckpt_path={path!r} or 'hpc'")


def _files(directory: str) -> dict[int, str]:
    names = place_of(directory).names(directory)
    return {int(match[1]): name for name in names if (match := _FILE.fullmatch(name))}


def _next_path(directory: str) -> str:
    return os.path.join(directory, f"hpc_ckpt_{max(_files(directory), default=0) + 1}.ckpt")
