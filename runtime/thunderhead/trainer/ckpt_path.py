"""Which file ``ckpt_path`` means."""

from __future__ import annotations

import os
import re
from typing import Final

from thunderhead import arguments as args
from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.schemes import place_of
from thunderhead.run.run import Run
from thunderhead.trainer.root import in_full
from thunderhead.warning import say, warn

_HPC: Final = re.compile(r"hpc_ckpt_(\d+)\.ckpt")


def resolve(run: Run, asked: str | os.PathLike[str] | None) -> str | None:
    """The path that ``ckpt_path`` means: itself, or what a word stands for.

    ``"best"`` and ``"last"`` are those of the callbacks that save, ``"hpc"`` the ``hpc_ckpt_<N>.ckpt`` with the highest
    number in ``default_root_dir``. None is no file, but for fit with a callback that resumes by default
    (OnExceptionCheckpoint): the last, if any.

    Raises:
        TypeError: neither text nor a path.
        ValueError: ``"best"`` without a ModelCheckpoint, or before it saved anything; ``"hpc"`` without such a file.
        MisconfigurationException: ``"registry..."``.
    """
    requeued = next((path for callback in run.callbacks if (path := _of_requeued(callback, run))), None)
    if requeued is not None:
        say(f"this job was requeued, so it goes on from {requeued}")
        return requeued
    if asked is None:
        wants = any(getattr(callback, "resumes_by_default", False) for callback in run.callbacks)
        return newest_last(run) if wants and run.fitting else None
    path = args.path("ckpt_path", asked, "'best', 'last', 'hpc', a file or a URL")
    if path == "best":
        return _best(run)
    if path == "last":
        found = newest_last(run)
        if found is None:
            instead = "starting fresh" if run.fitting else f"{run.fn} runs the module as it is"
            warn(f'ckpt_path="last", but there is no last checkpoint; {instead}')
        return found
    if path == "hpc":
        return _newest_hpc(in_full(run.options.default_root_dir))
    if path.startswith("registry"):
        raise MisconfigurationException(
            f"ckpt_path={path!r}: the model registry is a service of its vendor, which is not supported; download the "
            "file, and pass its path or URL"
        )
    return path


def _of_requeued(callback: object, run: Run) -> str | None:
    find = getattr(callback, "_continues_with", None)
    found: str | None = None if find is None or not run.fitting else find(run.caller)
    return found


def _best(run: Run) -> str:
    paths = [str(c.best_model_path) for c in run.callbacks if hasattr(c, "best_model_path")]
    if not paths:
        raise ValueError('ckpt_path="best" needs a ModelCheckpoint callback, and this Trainer has none')
    if paths[0]:
        return paths[0]
    if run.options.fast_dev_run:
        raise ValueError('ckpt_path="best" does not exist under fast_dev_run, which saves nothing')
    raise ValueError('ckpt_path="best", but ModelCheckpoint has saved nothing yet; run fit first, or give a path')


def _newest_hpc(directory: str) -> str:
    names = place_of(directory).names(directory)
    numbers = {int(match[1]): name for name in names if (match := _HPC.fullmatch(name))}
    if not numbers:
        raise ValueError(
            f'ckpt_path="hpc", but default_root_dir {directory!r} holds no hpc_ckpt_<N>.ckpt; pass the path of a file'
        )
    return os.path.join(directory, numbers[max(numbers)])


def newest_last(run: Run) -> str | None:
    """The newest of the files that callbacks name as their last."""
    found = [path for callback in run.callbacks for path in last_candidates(callback, run.caller)]
    return max(found, key=lambda path: place_of(path).modified(path), default=None)


def last_candidates(callback: object, trainer: object) -> list[str]:
    """Files that may be a callback's last checkpoint."""
    find = getattr(callback, "_find_last_checkpoints", None)
    return [] if find is None else sorted(find(trainer))
