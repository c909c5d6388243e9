"""The configuration of a run, kept beside what it wrote."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from thunderhead.cli.parser import LightningArgumentParser
from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.places import is_url
from thunderhead.files.schemes import place_of
from thunderhead.hooks.overriding import is_overridden
from thunderhead.user.callback import Callback

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class SaveConfigCallback(Callback):
    """Writes the whole configuration of a command line into the directory of the run's logs.

    Args:
        parser: that read it.
        config: what it read.
        config_filename: name of the file.
        overwrite: whether a file of that name may be replaced.
        multifile: whether parts that were read from files of their own are written to such.
        save_to_log_dir: False where ``save_config`` alone says where it goes.

    Raises:
        MisconfigurationException: ``save_to_log_dir=False`` without a ``save_config`` of one's own.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        config_filename: str = "config.yaml",
        overwrite: bool = False,
        multifile: bool = False,
        save_to_log_dir: bool = True,
    ) -> None:
        self.parser = parser
        self.config = config
        self.config_filename = config_filename
        self.overwrite = overwrite
        self.multifile = multifile
        self.save_to_log_dir = save_to_log_dir
        self.already_saved = False
        if not save_to_log_dir and not is_overridden("save_config", self, SaveConfigCallback):
            raise MisconfigurationException(
                f"{type(self).__name__}(save_to_log_dir=False) saves nothing; override save_config, or pass "
                "save_config_callback=None to LightningCLI"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write it, once; every rank comes here.

        Raises:
            RuntimeError: there is such a file.
        """
        if self.already_saved:
            return
        if self.save_to_log_dir:
            directory = trainer.log_dir
            assert directory is not None
            path = f"{directory.rstrip('/')}/{self.config_filename}"
            self._refuse_to_replace(path, trainer)
            if trainer.is_global_zero:
                self._write(path)
        if trainer.is_global_zero:
            self.save_config(trainer, pl_module, stage)
        self.already_saved = True

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Override to keep it elsewhere too; called on rank 0 alone."""

    def _refuse_to_replace(self, path: str, trainer: Trainer) -> None:
        if self.overwrite:
            return
        # Rank 0 looks and tells, so that all raise alike.
        if trainer.strategy.tell(trainer.is_global_zero and place_of(path).exists(path)):
            raise RuntimeError(
                f"{type(self).__name__} does not overwrite {path}, the configuration of another run; delete it, give "
                "the logger another version, or pass save_config_kwargs={'overwrite': True} to LightningCLI, or "
                "save_config_callback=None to write none"
            )

    def _write(self, path: str) -> None:
        if self.multifile and not is_url(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self.parser.save(self.config, path, skip_unset=False, overwrite=self.overwrite, multifile=True)
            return
        text = self.parser.dump(self.config, skip_unset=False)
        place_of(path).write(path, lambda stream: stream.write(text.encode()))
