"""Warnings and notes for the user: on one rank, some of them once."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Final

import torch

from thunderhead.standing import step_off

# All of Thunderhead's packages, and torch, which calls back from between.
_OURS: Final = (os.path.dirname(os.path.abspath(__file__)), os.path.dirname(torch.__file__) + os.sep)
_PYTHONS: Final = (os.path.dirname(os.__file__) + os.sep, "<frozen ")
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
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


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn on rank 0, of the line of the user's that led here; where all lines are ours, of the caller's."""
    if is_rank_zero():
        step_off()
        warnings.warn(message, category, stacklevel=_levels_to_the_user() or 3)


def _levels_to_the_user() -> int:
    """What ``stacklevel`` is in ``warn`` for the innermost frame of the user's; 0 without one."""
    frame, level = sys._getframe(2), 2
    while not _is_the_users(frame.f_code.co_filename):
        if frame.f_back is None:
            return 0
        frame, level = frame.f_back, level + 1
    return level


def _is_the_users(file: str) -> bool:
    if file.startswith(_OURS):
        return False
    return not file.startswith(_PYTHONS) or any(folder in file for folder in _INSTALLED)


def warn_once(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn on rank 0 the first time ``message`` comes up in this process."""
    if message not in _said:
        _said.add(message)
        warn(message, category)


def say(message: str) -> None:
    """Tell the user something on rank 0, through the logger ``thunderhead``."""
    if is_rank_zero():
        step_off()
        notes().info(message)


def say_once(message: str) -> None:
    """``say``, the first time ``message`` comes up in this process."""
    if message not in _said:
        _said.add(message)
        say(message)
