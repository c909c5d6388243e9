"""``Trainer.save_checkpoint``: all ranks make the content, rank 0 writes it, and all learn whether it could."""

from __future__ import annotations

import os

from thunderhead import arguments as args
from thunderhead.checkpoint import content
from thunderhead.files.writable import in_words
from thunderhead.run.moment import position_for_file
from thunderhead.run.run import Run
from thunderhead.run.training import Training


def save_checkpoint(
    run: Run | None, training: Training, filepath: str | os.PathLike[str], weights_only: bool, options: object
) -> None:
    """Write a ``.ckpt`` file of the running moment; see ``Trainer.save_checkpoint``."""
    if run is None:
        raise AttributeError("the Trainer has no module, so there is nothing to save; pass one to fit first")
    path = args.path("Trainer.save_checkpoint: filepath", filepath, "a path or URL")
    made = content.dump(run, training, position_for_file(run, training), weights_only=weights_only)
    gathered = content.gather_shares(run, made)
    failure: Exception | None = None
    if run.strategy.is_global_zero:
        try:
            content.add_shares(made, gathered)
            run.strategy.save_checkpoint(made, path, storage_options=options)
        except Exception as error:  # noqa: BLE001 - raised below, once the other ranks know that they need not wait
            failure = _in_words(error, path)
    said = run.strategy.tell(None if failure is None else f"{type(failure).__name__}: {failure}")
    if failure is not None:
        raise failure
    if said is not None:
        raise OSError(f"rank 0 could not write {path!r}: {said}")


def _in_words(error: Exception, path: str) -> Exception:
    if not isinstance(error, OSError):
        return error
    subject = f"Trainer.save_checkpoint(filepath={path!r}) cannot write it"
    said = in_words(error, subject, str(error.filename or path))
    if said is None:
        return error
    said.__cause__ = error
    return said
