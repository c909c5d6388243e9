"""``.ckpt`` files: finding, reading and writing them."""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from thunderhead.exceptions import MisconfigurationException
from thunderhead.warning import warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


def resolve(trainer: Trainer, asked: str | os.PathLike[str] | None) -> str | None:
    """The path that ``ckpt_path`` means: itself, the best or the last of the callbacks that save.

    None is no file, but for fit with a callback that resumes by default (OnExceptionCheckpoint): the last, if any.

    Raises:
        ValueError: ``"best"`` without a ModelCheckpoint, or before it saved anything.
    """
    if asked is None:
        wants = any(getattr(callback, "resumes_by_default", False) for callback in trainer.checkpoint_callbacks)
        return newest_last(trainer) if wants and trainer._fn == "fit" else None
    if asked == "best":
        paths = [c.best_model_path for c in trainer.checkpoint_callbacks if hasattr(c, "best_model_path")]
        if not paths:
            raise ValueError('ckpt_path="best" needs a ModelCheckpoint callback, and this Trainer has none')
        best = paths[0]
        if not best:
            if trainer.fast_dev_run:
                raise ValueError('ckpt_path="best" does not exist under fast_dev_run, which saves nothing')
            raise ValueError(
                'ckpt_path="best", but ModelCheckpoint has saved nothing yet; run fit first, or give a path'
            )
        return str(best)
    if asked == "last":
        found = newest_last(trainer)
        if found is None:
            warn('ckpt_path="last", but there is no last checkpoint; starting fresh')
        return found
    return os.fspath(asked)


def newest_last(trainer: Trainer) -> str | None:
    """The newest of the files that callbacks name as their last."""
    found = [path for callback in trainer.checkpoint_callbacks for path in last_candidates(callback, trainer)]
    return max(found, key=os.path.getmtime, default=None)


def last_candidates(callback: Any, trainer: Trainer) -> list[str]:
    """Files that may be a callback's last checkpoint."""
    find = getattr(callback, "_find_last_checkpoints", None)
    return [] if find is None else sorted(find(trainer))


def read(path: str, *, weights_only: bool | None = None, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint, its tensors on the CPU.

    Args:
        path: where it is.
        weights_only: refuse everything but tensors and plain data (the default).
        map_location: where tensors go.

    Raises:
        FileNotFoundError: there is no such file.
        MisconfigurationException: it holds objects, which only ``weights_only=False`` loads.
    """
    if "://" in path:
        raise MisconfigurationException(f"ckpt_path={path!r}: only local paths can be read")
    if not Path(path).exists():
        raise FileNotFoundError(f"checkpoint {path!r} does not exist")
    try:
        loaded: dict[str, Any] = torch.load(
            path, map_location=map_location, weights_only=True if weights_only is None else weights_only
        )
    except pickle.UnpicklingError as error:
        raise MisconfigurationException(
            f"checkpoint {path!r} holds more than tensors and plain data; pass weights_only=False if you trust "
            "its origin"
        ) from error
    return loaded


def write(made: dict[str, Any], path: str, options: Any = None) -> None:
    """Write a checkpoint whole or not at all: a reader never sees half a file.

    Raises:
        OSError: it cannot be written there.
    """
    if "://" in path:
        raise MisconfigurationException(f"filepath={path!r}: only local paths can be written")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            torch.save(made, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def remove(path: str) -> None:
    """Delete a checkpoint, a file or a directory; nothing where it is gone already."""
    import shutil

    target = Path(path)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
