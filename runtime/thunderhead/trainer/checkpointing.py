"""``Trainer.save_checkpoint``: all ranks make the content, rank 0 writes it, and all learn whether it could."""

from __future__ import annotations

import os
from typing import NoReturn

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
    strategy = run.strategy

    def write() -> None:
        try:
            content.add_shares(made, gathered)
            if not strategy.saves_together:
                strategy.save_checkpoint(made, path, storage_options=options)
        except OSError as error:
            _raise_in_words(error, path)

    strategy.on_first(write, path)
    if strategy.saves_together:
        strategy.save_checkpoint(made, path, storage_options=options)


def _raise_in_words(error: OSError, path: str) -> NoReturn:
    said = in_words(error, f"Trainer.save_checkpoint(filepath={path!r}) cannot write it", str(error.filename or path))
    if said is None:
        raise error
    raise said from error
