"""What was written beside a path takes its place, so that a crash at any moment leaves the old or the new there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import sys

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def beside(path: str) -> str:
    """A name in the same directory, for what is being written."""
    folder, name = os.path.split(path.rstrip("/"))
    return os.path.join(folder, f".{name}.{secrets.token_hex(4)}")


def put_in_place(written: str, path: str) -> None:
    """Rename ``written``, a file, a link or a directory from :func:`beside`, to ``path``, whatever was there.

    What earlier writers of this path left beside it as they died is removed.

    Raises:
        OSError: it cannot be done; what was at ``path`` is there still.
    """
    # Neither can a directory be renamed over, nor anything that is there by a directory.
    if _is_directory(path) or (_is_directory(written) and os.path.lexists(path)):
        _exchange(written, path)
    else:
        os.replace(written, path)
    for left in _left_beside(path):
        with contextlib.suppress(OSError):  # it is in nobody's way
            remove(left)


def remove(path: str) -> None:
    """Delete a file or a directory; of a link, the link; nothing where a file is gone already."""
    if _is_directory(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _exchange(written: str, path: str) -> None:
    """By an exchange of the two names where the system has one (Linux); else there is nothing for a moment."""
    if _exchanged(written, path):
        remove(written)
        return
    before = beside(path)
    os.rename(path, before)
    try:
        os.rename(written, path)
    except OSError:
        os.rename(before, path)
        raise
    remove(before)


def _exchanged(one: str, other: str) -> bool:
    """Whether the two names have been exchanged, in one step: renameat2(2). Not every file system can."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        exchange = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library without it
        return False
    return bool(exchange(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _left_beside(path: str) -> list[str]:
    folder, name = os.path.split(path.rstrip("/"))
    ours = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{8}}")
    return [os.path.join(folder, entry) for entry in os.listdir(folder or ".") if ours.fullmatch(entry)]
