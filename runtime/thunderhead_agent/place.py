"""Where in the user's code an exception arose, for the question whether a failure is the same one again. Pure."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from thunderhead.job.errors import JobError
from thunderhead_agent.tracebacks import is_the_users

PLACE_LIMIT: Final = 253
_LUCK: Final = (MemoryError, ConnectionError, TimeoutError, JobError, KeyboardInterrupt)
_LUCK_TYPES: Final = ("OutOfMemoryError", "AcceleratorError", "CudaError")  # torch's, by name: it is not imported here
_LUCK_MODULES: Final = ("botocore", "boto3", "s3transfer", "urllib3", "requests", "aiohttp", "http", "ssl", "fsspec")
_LUCK_ERRNO: Final = frozenset(
    {errno.EIO, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EROFS, errno.EMFILE, errno.ENFILE}
    | {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN}
)


def place_of(error: BaseException, path: Sequence[str] = ()) -> str | None:
    """``file.py:12`` of the innermost frame of the user's code; None for what another execution may well survive:
    memory, peers, the network, the store.

    Args:
        error: what was raised.
        path: directories of modules (``sys.path``), below which the file is told: each attempt has its own.
    """
    if is_luck(error):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if is_the_users(frame.filename)]
    frame = next(reversed(theirs or frames), None)
    if frame is None:
        return None
    return f"{_below(frame.filename, path)}:{frame.lineno}"[-PLACE_LIMIT:]


def is_luck(error: BaseException) -> bool:
    """Whether the exception, or one behind it, is of the world and not of the code."""
    return any(_is_one_of_luck(each) for each in _chain(error))


def _is_one_of_luck(error: BaseException) -> bool:
    kind = type(error)
    if isinstance(error, _LUCK) or kind.__name__ in _LUCK_TYPES:
        return True
    if isinstance(error, OSError) and error.errno in _LUCK_ERRNO:
        return True
    return kind.__module__.partition(".")[0] in _LUCK_MODULES


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _below(filename: str, path: Sequence[str]) -> str:
    roots = [root for root in path if root and Path(filename).is_relative_to(root)]
    return str(Path(filename).relative_to(max(roots, key=len))) if roots else filename
