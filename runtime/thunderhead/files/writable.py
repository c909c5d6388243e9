"""Whether files can be written where an argument says: asked before the work whose results would be lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from thunderhead.files.places import is_url, local
from thunderhead.files.schemes import place_of


class LateCheckpointError(OSError):
    """What was to be done with a checkpoint beside training failed; raised later, inside of something else."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A directory in which a run will write.

    Attributes:
        directory: path or URL; what lies between it and an existing directory is made when it is needed.
        argument: what decides it, as a user writes it: ``ModelCheckpoint(dirpath='/data')``.
        content: what is written there, in the plural.
    """

    directory: str
    argument: str
    content: str

    def check(self) -> None:
        """Raise what a write there would, with the argument to change; in the file system nothing is left behind.

        Raises:
            OSError: nothing can be written there, of the class that the system says.
        """
        with self.naming():
            place_of(self.directory).check(self.directory)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """What fails inside names the argument and says what to do.

        Raises:
            OSError: the same, in words.
        """
        try:
            yield
        except LateCheckpointError:
            raise  # it is about another file, and says about which
        except OSError as error:
            # What a method of the Trainer has put in words for its own argument is said for this one instead.
            system = error.__cause__ if isinstance(error.__cause__, OSError) else error
            path = self.directory if system.filename is None else str(system.filename)
            explained = in_words(system, f"{self.argument}: {self.content} cannot be written", path)
            if explained is None:
                error.add_note(f"{self.argument} decides where {self.content} go")
                raise
            raise explained from error


def in_words(error: OSError, subject: str, path: str) -> OSError | None:
    """The error of a file system with rule and remedy, of the same class; None for one that speaks for itself.

    Args:
        error: as the system raised it.
        subject: what could not be done, for the beginning of the sentence.
        path: file or directory it was about.
    """
    if error.errno is None or error.strerror is None or is_url(path):
        return None
    said = type(error)(f"{subject}: {_rule(error.errno, error.strerror, path)}")
    said.errno = error.errno  # not to the constructor, which would put a number before the words
    return said if isinstance(said, OSError) else None


def _rule(number: int, text: str, path: str) -> str:
    if number in (errno.ENOTDIR, errno.EEXIST):
        return f"{_no_directory(path)!r} is a file, not a directory; give another directory"
    if number in (errno.EACCES, errno.EPERM):
        return f"user {os.geteuid()} may not write to {path!r}; give a directory that it may write to"
    if number == errno.EROFS:
        return f"{path!r} is on a file system that can only be read from; give a directory on another one"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left for {path!r}; free some, or give a directory on another file system"
    return f"no file can be made in {path!r} ({text}); give another directory"


def _no_directory(path: str) -> str:
    """The part of a path that is in the way."""
    found = os.path.abspath(local(path))
    while not os.path.lexists(found) and found != os.path.dirname(found):
        found = os.path.dirname(found)
    return found
