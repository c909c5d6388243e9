"""Warnings and notes for the user: on one rank, some of them once."""

from __future__ import annotations

import logging
import os
import warnings

_said: set[str] = set()
_log = logging.getLogger("thunderhead")


def notes() -> logging.Logger:
    """The logger of notes, audible: where nobody has set up logging, they go to stderr as they are.

    Otherwise the root logger's level of WARNING would swallow every one of them, also those of ``verbose=True``.
    """
    if not _log.hasHandlers():
        handler = logging.StreamHandler()
        handler.addFilter(_is_ours_to_show)
        _log.addHandler(handler)
        _log.setLevel(logging.INFO)
    return _log


def _is_ours_to_show(record: logging.LogRecord) -> bool:
    # Logging may be set up later, which shows them too. Other parts of thunderhead are heard from warnings on, as ever.
    ours = record.name == _log.name or record.levelno >= logging.WARNING
    return ours and not logging.getLogger().handlers


class PossibleUserWarning(UserWarning):
    """Something that is often, not always, a mistake."""


def is_rank_zero() -> bool:
    """Whether this process is global rank 0, as far as the environment says."""
    return os.environ.get("RANK", "0") == "0"


def warn(message: str, category: type[Warning] = UserWarning, stacklevel: int = 3) -> None:
    """Warn on rank 0."""
    if is_rank_zero():
        warnings.warn(message, category, stacklevel=stacklevel)


def warn_once(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn on rank 0 the first time ``message`` comes up in this process."""
    if message not in _said:
        _said.add(message)
        warn(message, category, stacklevel=4)


def say(message: str) -> None:
    """Tell the user something on rank 0, through the logger ``thunderhead``."""
    if is_rank_zero():
        notes().info(message)


def say_once(message: str) -> None:
    """``say``, the first time ``message`` comes up in this process."""
    if message not in _said:
        _said.add(message)
        say(message)
