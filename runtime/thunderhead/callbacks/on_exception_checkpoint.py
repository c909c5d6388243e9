"""A checkpoint of the moment in which a run failed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from thunderhead.arguments import directory
from thunderhead.checkpoint.alone import tell_saved
from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.schemes import place_of
from thunderhead.files.writable import Destination
from thunderhead.user.callback import Checkpoint

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class OnExceptionCheckpoint(Checkpoint):
    """Saves when training ends with an exception, and deletes that file once a fit has ended well.

    With it, ``fit(ckpt_path=None)`` means ``"last"``: the next start goes on from the file. It is written by rank 0
    alone and without a collective, since the other ranks may never come. After SIGTERM, which ends all of them at the
    same step, it holds every rank's share. A run that fails before its first batch leaves the file of an earlier
    failure as it is.

    Args:
        dirpath: directory or URL.
        filename: name without extension.

    Attributes:
        resumes_by_default: whether ``fit`` without ``ckpt_path`` goes on from the last checkpoint.

    Raises:
        MisconfigurationException: the name is empty or no text.
    """

    FILE_EXTENSION = ".ckpt"
    resumes_by_default = True

    def __init__(self, dirpath: str | os.PathLike[str], filename: str = "on_exception") -> None:
        if not isinstance(filename, str) or not filename:
            raise MisconfigurationException(
                f"OnExceptionCheckpoint: filename={filename!r} must be a name without extension, like 'on_exception'"
            )
        self.dirpath = directory("OnExceptionCheckpoint: dirpath", dirpath)
        self.filename = filename
        self._training = False

    @property
    def ckpt_path(self) -> str:
        """Path of the file."""
        return os.path.join(self.dirpath, self.filename + self.FILE_EXTENSION)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Everything is restored: from here on there is something to lose."""
        self._training = not trainer.fast_dev_run

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save, over what is there."""
        if not self._training:
            return
        self._training = False
        together = trainer.ended_together(exception)
        if together or trainer.is_global_zero:
            with self._destination(trainer).naming():
                trainer.save_ended(self.ckpt_path, together=together)
            tell_saved(exception, self.ckpt_path)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Training has ended well: nothing is left to go on from."""
        self._training = False
        if stage == "fit" and trainer.is_global_zero and not trainer.fast_dev_run:
            trainer.strategy.remove_checkpoint(self.ckpt_path)

    def _destination(self, trainer: Trainer) -> Destination:
        return Destination(self.dirpath, f"{type(self).__name__}(dirpath={self.dirpath!r})", "checkpoints")

    def _find_last_checkpoints(self, trainer: Trainer) -> set[str]:
        return {self.ckpt_path} if place_of(self.ckpt_path).exists(self.ckpt_path) else set()
