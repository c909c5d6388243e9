"""The part of a traceback that says most in little room: where the user's code was, and where it ended. Pure."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from typing import Any, Final

TRACEBACK_LIMIT: Final = 2048
_RUNTIME: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OURS: Final = tuple(os.path.join(_RUNTIME, package, "") for package in ("thunderhead", "thunderhead_agent"))
_OTHERS: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}", "<frozen ")
_PYTHONS: Final = os.path.dirname(os.path.abspath(os.__file__)) + os.sep


def traceback_tail(error: BaseException) -> str:
    """At most 2 KiB: from the first frame of the user's own on, or that last one of theirs and the end of the rest.

    The headline is told separately. Frames of the trainer's before the user's code lead there in every run.
    """
    frames = list(traceback.extract_tb(error.__traceback__))
    theirs = [index for index, frame in enumerate(frames) if is_the_users(frame.filename)]
    beyond = [frame for frame in frames if not frame.filename.startswith(_OURS[1])]
    told = frames[theirs[0] :] if theirs else beyond or frames
    text = _text(told)
    if len(text) <= TRACEBACK_LIMIT or not theirs:
        return _end(text, TRACEBACK_LIMIT)
    last = _text([frames[theirs[-1]]])
    rest = _text(frames[theirs[-1] + 1 :])
    if (
        len(last) + len(rest) <= TRACEBACK_LIMIT
    ):  # what does not fit lies before: it leads from the user's to the user's
        return _end(text, TRACEBACK_LIMIT)
    return _end(last, TRACEBACK_LIMIT // 2) + "\n  …\n" + _end(rest, TRACEBACK_LIMIT - len(last[-1024:]) - 8)


def shown(error: BaseException) -> str:
    """As Python prints it, but for the frames that lead to the user's code, which are the same in every run.

    An error that arose in our code, or of which no frame is the user's, is told whole.
    """
    whole = traceback.TracebackException.from_exception(error)
    for each in _chain(whole):
        each.stack = _from_the_users(each.stack)
    return "".join(whole.format())


class _Shortened(traceback.StackSummary):
    """Frames of which the first are left out, and said to be."""

    left_out: int = 0

    def format(self, **options: Any) -> list[str]:
        return [f"  … {self.left_out} frames before your code left out\n", *super().format(**options)]


def _from_the_users(stack: traceback.StackSummary) -> traceback.StackSummary:
    first = next((index for index, frame in enumerate(stack) if is_the_users(frame.filename)), 0)
    if not first or stack[-1].filename.startswith(_OURS):
        return stack
    found = _Shortened(stack[first:])
    found.left_out = first
    return found


def _chain(error: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """The error and all that stand behind it or in it; Python tells each once."""
    yield error
    for behind in (error.__cause__, error.__context__, *(error.exceptions or ())):
        if behind is not None:
            yield from _chain(behind)


def is_the_users(file: str) -> bool:
    """Whether a file is neither ours nor Python's nor installed with a package."""
    return not file.startswith((*_OURS, _PYTHONS)) and not any(part in file for part in _OTHERS)


def _text(frames: list[traceback.FrameSummary]) -> bytes:
    return "".join(traceback.format_list(frames)).encode()


def _end(text: bytes, limit: int) -> str:
    """The end of a text, of whole lines where any is whole."""
    if len(text) <= limit:
        return text.decode(errors="ignore").rstrip()
    cut = text[-limit:]
    return (cut.partition(b"\n")[2] or cut).decode(errors="ignore").rstrip()
