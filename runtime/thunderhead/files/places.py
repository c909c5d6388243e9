"""Where files of people lie: directories, buckets, whatever fsspec opens. One small interface over all of them.

=========================  ==========================================================================================
path                       opened by
=========================  ==========================================================================================
``/a/b``, ``file:///a/b``  the file system
``s3://bucket/a/b``        boto3: credentials, region and ``AWS_ENDPOINT_URL`` from the environment
``https://host/a``         urllib; reading only
``gs://``, ``memory://``…  fsspec, where it and its package for the scheme are installed
=========================  ==========================================================================================
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from thunderhead.files.in_place import beside, put_in_place, remove

Save = Callable[[Any], None]

_PROBE_BYTES: Final = 4096  # a block: a full disk takes an empty file, but nothing in it


class Place(Protocol):
    """Files behind one kind of path. What fails raises an ``OSError``."""

    def write(self, path: str, save: Save) -> None:
        """Have ``save`` write to a stream; the file appears whole or not at all."""
        ...

    def read(self, path: str) -> IO[bytes]:
        """A stream of a file that can be read anywhere; ``FileNotFoundError`` where there is none."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is such a file or directory."""
        ...

    def is_directory(self, path: str) -> bool:
        """Whether files lie under that path."""
        ...

    def names(self, directory: str) -> list[str]:
        """Names of files and directories in a directory, sorted; none where there is no such directory."""
        ...

    def modified(self, path: str) -> float:
        """When it was last written, in Unix seconds."""
        ...

    def remove(self, path: str) -> None:
        """Delete a file or a directory; nothing where it is gone already."""
        ...

    def check(self, directory: str) -> None:
        """Raise what a write there would, if it can be known beforehand."""
        ...


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is not in the file system."""
    text = os.fspath(path)
    return "://" in text and not text.startswith("file://")


def normal(path: str | os.PathLike[str]) -> str:
    """One form of each path: absolute and without links in the file system, no slash at the end of a URL."""
    text = os.fspath(path)
    return text.rstrip("/") if is_url(text) else os.path.realpath(os.path.expanduser(local(text)))


def local(path: str) -> str:
    """A path of the file system without its ``file://``."""
    return unquote(urlsplit(path).path) if path.startswith("file://") else path


def same(path: str, other: str) -> bool:
    """Whether both name one file, links aside."""
    if is_url(path) or is_url(other):
        return path == other
    return os.path.abspath(local(path)) == os.path.abspath(local(other))


def lies_in(path: str, directory: str) -> bool:
    """Whether ``path`` is somewhere below ``directory``."""
    if is_url(path) or is_url(directory):
        return path.startswith(directory.rstrip("/") + "/")
    return Path(local(directory)).absolute() in Path(local(path)).absolute().parents


class LocalFiles:
    """The file system."""

    def write(self, path: str, save: Save) -> None:
        """Write beside it and rename, so that a reader never sees half a file and a crash leaves the old one."""
        target = Path(local(path))
        _refuse_what_is_no_file(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(beside(str(target)))
        try:
            with open(temporary, "xb") as stream:
                save(stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, target)
        except BaseException as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            if isinstance(error, OSError) and error.filename in (None, str(temporary)):
                error.filename = str(target)  # of a write the system says what, but not where
            raise

    def read(self, path: str) -> IO[bytes]:
        """Open it."""
        return open(local(path), "rb")

    def exists(self, path: str) -> bool:
        """Also where it is a link to nothing."""
        return os.path.lexists(local(path))

    def is_directory(self, path: str) -> bool:
        """A directory, or a link to one."""
        return os.path.isdir(local(path))

    def names(self, directory: str) -> list[str]:
        """What is in it."""
        return sorted(os.listdir(local(directory))) if os.path.isdir(local(directory)) else []

    def modified(self, path: str) -> float:
        """Its modification time."""
        return os.path.getmtime(local(path))

    def link(self, target: str, path: str) -> None:
        """A link at ``path`` to ``target``, relative, so that both can be moved together; else a copy. Never half."""
        if same(target, path):
            return
        link, source = Path(local(path)), Path(local(target)).absolute()
        link.parent.mkdir(parents=True, exist_ok=True)
        temporary = beside(str(link))
        try:
            os.symlink(os.path.relpath(source, link.absolute().parent), temporary)
        except OSError:  # a file system without links
            self._copy(source, link)
        else:
            put_in_place(temporary, str(link))

    def _copy(self, source: Path, to: Path) -> None:
        temporary = beside(str(to))
        if source.is_dir():
            shutil.copytree(source, temporary)
        else:
            with open(source, "rb") as whole:
                self.write(temporary, lambda stream: shutil.copyfileobj(whole, stream))
        put_in_place(temporary, str(to))

    def remove(self, path: str) -> None:
        """Delete it; of a link, the link."""
        remove(str(Path(local(path))))  # without a slash at the end, which would lead through a link

    def check(self, directory: str) -> None:
        """Write a block into the nearest directory that exists, and delete it: permissions alone do not tell it all."""
        existing = Path(os.path.abspath(local(directory)))
        while not os.path.lexists(existing) and existing != existing.parent:
            existing = existing.parent
        probe = existing / f".thunderhead-check.{secrets.token_hex(4)}"
        try:
            with open(probe, "xb", buffering=0) as stream:
                try:
                    stream.write(bytes(_PROBE_BYTES))
                finally:
                    os.unlink(probe)
        except OSError as error:
            error.filename = str(existing)  # the system says nothing of a write, and a name that nobody knows otherwise
            raise


_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def _refuse_what_is_no_file(target: Path) -> None:
    """Renaming over a device, as root may, would take it from everyone on the machine."""
    if not target.exists() or target.is_file():
        return
    kind = _KINDS.get(stat.S_IFMT(target.stat().st_mode), "a device")
    refusal = IsADirectoryError if target.is_dir() else OSError
    raise refusal(f"{str(target)!r} is {kind}, and only a regular file can be replaced; give another path")


LOCAL = LocalFiles()
