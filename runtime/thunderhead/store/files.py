"""Objects as files under a directory: a volume, or the mode without a cluster."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from thunderhead.job.errors import StorageRefused
from thunderhead.store.objects import Body, NotFound, ObjectInfo, PreconditionFailed, Unavailable, Upload

# Unfinished writes lie beside their target under a name no key has; listings skip them.
_UNFINISHED: Final = ".unfinished-"
# What an administrator must change: waiting or retrying heals none of them.
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_REFUSALS: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOTSUP}


class FileStore:
    """An :class:`~thunderhead.store.objects.ObjectStore` over a local or shared file system.

    A write goes to an unfinished file beside its target, is flushed to disk, and takes its name in one step: ``link``
        where the name must be free (the kernel refuses a second one, across hosts too on NFS), ``rename`` otherwise.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root)

    def uri(self, key: str = "") -> str:
        return f"file://{self._root / key}"

    def put(self, key: str, body: Body, *, if_none_match: bool = False) -> None:
        target = self._root / key
        with self._explained("write", key):
            # Deleting the last object of a folder removes the folder, which may happen right here.
            for _ in range(8):
                try:
                    _make_folder(target.parent)
                    self._write(target, body, exclusive=if_none_match)
                except FileNotFoundError:
                    continue
                return
        raise Unavailable(f"write of {self.uri(key)}: its folder keeps vanishing")

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        with self._explained("read", key), _only_files(), open(self._root / key, "rb") as file:
            file.seek(start)
            return file.read() if length is None else file.read(length)

    def size(self, key: str) -> int:
        with self._explained("stat", key), _only_files():
            found = (self._root / key).stat()
            if not stat.S_ISREG(found.st_mode):
                raise IsADirectoryError
            return found.st_size

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for path in self._walk(prefix):
            if not _is_unfinished(path):
                key = path.relative_to(self._root).as_posix()
                # Deleted since the walk saw it: a listing may leave out what vanishes meanwhile.
                try:
                    yield ObjectInfo(key, self.size(key))
                except NotFound:
                    continue

    def delete(self, key: str) -> None:
        path = self._root / key
        with self._explained("delete", key):
            path.unlink(missing_ok=True)
            self._remove_empty_folders(path.parent)

    def uploads(self, prefix: str) -> list[Upload]:
        unfinished = (path.relative_to(self._root).as_posix() for path in self._walk(prefix) if _is_unfinished(path))
        return [Upload(key, key) for key in unfinished]

    def abandon(self, upload: Upload) -> None:
        self.delete(upload.id)

    def _write(self, target: Path, body: Body, *, exclusive: bool) -> None:
        # With the target's name, which tells whose it was should its writer be killed.
        unfinished = target.parent / f"{_UNFINISHED}{secrets.token_hex(8)}-{target.name}"
        try:
            with open(unfinished, "xb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            if exclusive:
                os.link(unfinished, target)
            else:
                os.replace(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)
        _flush_folder(target.parent)

    def _walk(self, prefix: str) -> Iterator[Path]:
        """Files whose key starts with ``prefix``, in order of keys; unfinished ones where their folder matches."""
        folder = self._root / prefix.rpartition("/")[0]
        with self._explained("list", prefix):
            found = [
                Path(base) / name for base, _, names in os.walk(folder, onerror=_raise_unless_gone) for name in names
            ]
        for path in sorted(found, key=lambda path: path.relative_to(self._root).as_posix()):
            key = path.relative_to(self._root).as_posix()
            where = key if not _is_unfinished(path) else f"{key.rpartition('/')[0]}/"
            if where.startswith(prefix):
                yield path

    def _remove_empty_folders(self, folder: Path) -> None:
        while folder != self._root and folder.is_relative_to(self._root):
            try:
                folder.rmdir()
            except OSError:
                # Not empty, gone already, or just refilled by a writer: all of them mean that we are done.
                return
            folder = folder.parent

    @contextmanager
    def _explained(self, operation: str, key: str) -> Iterator[None]:
        """Errors of the operating system as those of a store."""
        try:
            yield
        except FileExistsError as error:
            raise PreconditionFailed(f"{self.uri(key)} exists already") from error
        except FileNotFoundError as error:
            raise NotFound(f"{self.uri(key)}: no such object") from error
        except OSError as error:
            cause = f"{operation} of {self.uri(key)} failed: {error.strerror} (errno {error.errno})"
            if error.errno in _REFUSALS:
                raise StorageRefused(
                    f"{cause}; the checkpoint volume must be writable by user {os.getuid()} and support hard links"
                ) from error
            if error.errno in _FULL:
                cause += "; free some space there, enlarge the volume, or lower checkpoint.keep"
            raise Unavailable(cause) from error


@contextmanager
def _only_files() -> Iterator[None]:
    """A folder is no object, and below an object there is none."""
    try:
        yield
    except (IsADirectoryError, NotADirectoryError) as error:
        raise FileNotFoundError from error


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith(_UNFINISHED)


def _make_folder(folder: Path) -> None:
    """Make ``folder`` and what is missing above it, each new name flushed."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        # Not exist_ok: that looks once more whether it is a folder, and may find it deleted meanwhile.
        with suppress(FileExistsError):
            path.mkdir()
        _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make a new name survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _raise_unless_gone(error: OSError) -> None:
    """``os.walk`` swallows errors unless told otherwise; a folder that vanished meanwhile is none."""
    if not isinstance(error, FileNotFoundError):
        raise error
