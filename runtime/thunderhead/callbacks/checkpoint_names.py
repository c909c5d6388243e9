"""What ModelCheckpoint calls its files, and where they lie."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import torch
import yaml
from torch import Tensor

from thunderhead.callbacks.checkpoint_arguments import FIELD
from thunderhead.files.schemes import place_of
from thunderhead.files.writable import Destination

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


class CheckpointNames:
    """Names of checkpoints from a template and metrics; class attributes change their parts."""

    CHECKPOINT_JOIN_CHAR = "-"
    CHECKPOINT_EQUALS_CHAR = "="
    CHECKPOINT_NAME_LAST = "last"
    FILE_EXTENSION = ".ckpt"
    STARTING_VERSION = 1

    dirpath: str | None
    filename: str | None
    auto_insert_metric_name: bool
    best_k_models: dict[str, Tensor]
    _chosen: bool
    _enable_version_counter: bool

    def format_checkpoint_name(
        self,
        metrics: dict[str, Tensor],
        filename: str | None = None,
        ver: int | None = None,
        prefix: str | None = None,
    ) -> str:
        """Path of a checkpoint with these metrics; a field whose metric is missing is 0.

        Args:
            metrics: values by name.
            filename: template, by default the callback's.
            ver: version to append.
            prefix: put before the name.
        """
        template = filename or self.filename or "{epoch}" + self.CHECKPOINT_JOIN_CHAR + "{step}"
        name = self._fill(template, metrics)
        parts = ([prefix] if prefix is not None else []) + [name] + ([f"v{ver}"] if ver is not None else [])
        full = self.CHECKPOINT_JOIN_CHAR.join(parts) + self.FILE_EXTENSION
        return os.path.join(self.dirpath, full) if self.dirpath else full

    def _fill(self, template: str, metrics: dict[str, Tensor]) -> str:
        def fill(match: re.Match[str]) -> str:
            name, form = match[1], match[2] or ""
            value = metrics.get(name, torch.tensor(0))
            shown = format(value.item() if isinstance(value, Tensor) and form else value, form[1:])
            if isinstance(value, Tensor) and not form:
                shown = str(value.item())
            return f"{name}{self.CHECKPOINT_EQUALS_CHAR}{shown}" if self.auto_insert_metric_name else shown

        return FIELD.sub(fill, template)

    def _free_path(
        self, candidates: dict[str, Tensor], *, allowed: str, name: str | None = None, taken: str = ""
    ) -> str:
        """A path at which nothing lies; ``allowed`` may be overwritten, ``taken`` is about to be written."""
        path = self.format_checkpoint_name(candidates, name)
        version = self.STARTING_VERSION
        while self._enable_version_counter and path != allowed and (path == taken or place_of(path).exists(path)):
            path = self.format_checkpoint_name(candidates, name, ver=version)
            version += 1
        return path

    def _monitor_candidates(self, trainer: Trainer) -> dict[str, Tensor]:
        """What may be ranked by and named after, when a checkpoint is due."""
        # Detached, for a value may have been logged with its graph.
        found = {name: value.detach().clone() for name, value in trainer.callback_metrics.items()}
        for name, value in (("epoch", trainer.current_epoch), ("step", trainer.global_step)):
            found[name] = found[name].int() if name in found else torch.tensor(value)
        return found

    def _resolve_directory(self, trainer: Trainer) -> str:
        if self.dirpath is not None:
            return self.dirpath
        if trainer.loggers:
            logger = trainer.loggers[0]
            version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
            return os.path.join(logger.save_dir or trainer.default_root_dir, str(logger.name), version, "checkpoints")
        return os.path.join(trainer.default_root_dir, "checkpoints")

    def _directory(self, trainer: Trainer) -> Destination:
        """The directory of ``_resolve_directory``, as far as it is known before loggers have begun."""
        kind, logger = type(self).__name__, trainer.loggers[0] if trainer.loggers else None
        save_dir = getattr(logger, "save_dir", None)
        if self._chosen:
            argument = f"{kind}(dirpath={self.dirpath!r})"
        elif save_dir:
            argument = getattr(logger, "_decided_by", None) or f"{type(logger).__name__}(save_dir={save_dir!r})"
        else:
            argument = trainer.default_root_dir_source
        # Loggers of others may say it as a Path.
        return Destination(os.fspath(self.dirpath or save_dir or trainer.default_root_dir), argument, "checkpoints")

    def _find_last_checkpoints(self, trainer: Trainer) -> set[str]:
        directory = self._resolve_directory(trainer)
        pattern = re.compile(rf"{re.escape(self.CHECKPOINT_NAME_LAST)}(-.*)?{re.escape(self.FILE_EXTENSION)}")
        found = place_of(directory).names(directory)
        return {os.path.join(directory, name) for name in found if pattern.fullmatch(name)}

    def to_yaml(self, filepath: str | os.PathLike[str] | None = None) -> None:
        """Write ``best_k_models`` as YAML, by default to ``best_k_models.yaml`` beside the checkpoints."""
        assert filepath is not None or self.dirpath is not None, "to_yaml needs a path before the directory is known"
        target = os.path.join(self.dirpath or "", "best_k_models.yaml") if filepath is None else os.fspath(filepath)
        text = yaml.safe_dump({path: score.item() for path, score in self.best_k_models.items()})
        place_of(target).write(target, lambda stream: stream.write(text.encode()))
