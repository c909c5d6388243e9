"""Files at URLs: S3 by boto3, http for reading, anything else by fsspec."""

from __future__ import annotations

import functools
import io
import os
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit

from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.places import Place, Save
from thunderhead.job.errors import StorageRefused
from thunderhead.store.objects import NotFound, StoreError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from thunderhead.store.s3 import S3Store

_HTTP_TIMEOUT_S: Final = 30
_RANGE_BYTES: Final = 32 * 1024 * 1024
_RANGES_AT_ONCE: Final = 4


class RefusedByStorage(StorageRefused, OSError):
    """A file at a URL that the storage does not let us have; another try changes nothing."""


def place_of_url(url: str) -> Place:
    """What opens ``url``.

    Raises:
        MisconfigurationException: no bucket, or a scheme that nothing here opens.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        if not parts.netloc:
            raise MisconfigurationException(f"{url!r} names no bucket; write s3://bucket/path")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return S3Files(_bucket(parts.netloc, endpoint))
    if parts.scheme in ("http", "https"):
        return HttpFiles()
    return FsspecFiles(url)


@functools.lru_cache(maxsize=8)
def _bucket(name: str, endpoint: str | None) -> S3Store:
    # boto3 takes half a second to import, so only those who use S3 pay for it.
    from thunderhead.store.s3 import S3Store

    return S3Store(name, endpoint=endpoint)


class S3Files:
    """One bucket; keys are what follows it in the URL.

    Args:
        store: the bucket, without a prefix.
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def write(self, path: str, save: Save) -> None:
        """Upload it in parts while it is made."""
        from thunderhead.store.s3_stream import writing

        with _errors(path), writing(self._store, _key(path)) as stream:
            save(stream)

    def read(self, path: str) -> IO[bytes]:
        """Download it, several ranges at a time."""
        key = _key(path)
        with _errors(path):
            size = self._store.size(key)
            stream = io.BytesIO(bytes(size))
            with stream.getbuffer() as view, ThreadPoolExecutor(_RANGES_AT_ONCE) as pool:

                def fetch(start: int) -> None:
                    part = self._store.get(key, start=start, length=min(_RANGE_BYTES, size - start))
                    view[start : start + len(part)] = part

                list(pool.map(fetch, range(0, size, _RANGE_BYTES)))
        return stream

    def exists(self, path: str) -> bool:
        """An object of that key; a prefix is none."""
        with _errors(path):
            try:
                self._store.size(_key(path))
            except NotFound:
                return False
            return True

    def is_directory(self, path: str) -> bool:
        """Whether any key begins with it."""
        with _errors(path):
            return next(self._store.scan(f"{_key(path).rstrip('/')}/"), None) is not None

    def names(self, directory: str) -> list[str]:
        """First parts of the keys below it."""
        prefix = f"{_key(directory).rstrip('/')}/".lstrip("/")
        with _errors(directory):
            found = {entry.key.removeprefix(prefix).partition("/")[0] for entry in self._store.scan(prefix)}
        return sorted(found - {""})

    def modified(self, path: str) -> float:
        """As the server says."""
        with _errors(path):
            return self._store.modified(_key(path))

    def remove(self, path: str) -> None:
        """Delete the object, and whatever lies below its key."""
        key = _key(path)
        with _errors(path):
            for entry in list(self._store.scan(f"{key}/")):
                self._store.delete(entry.key)
            self._store.delete(key)

    def check(self, directory: str) -> None:
        """Begin an upload and drop it: whoever may not write learns it before training, and nothing is left."""
        with _errors(directory):
            self._store.abandon(self._store.begin(f"{_key(directory).rstrip('/')}/.thunderhead-check".lstrip("/")))


@contextmanager
def _errors(path: str) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(f"{path!r} does not exist: {error}") from error
    except StorageRefused as error:
        raise RefusedByStorage(f"{path!r}: {error}") from error
    except StoreError as error:
        raise OSError(f"{path!r}: {error}") from error


def _key(path: str) -> str:
    # Not by urlsplit: a key may hold what has a meaning in other URLs (a metric's name with "#" or "?").
    return path.split("://", 1)[1].partition("/")[2]


class HttpFiles:
    """Files on a web server, which can be read and nothing else."""

    def read(self, path: str) -> IO[bytes]:
        """Download it."""
        try:
            with urllib.request.urlopen(path, timeout=_HTTP_TIMEOUT_S) as answer:
                return io.BytesIO(answer.read())
        except HTTPError as error:
            kind = FileNotFoundError if error.code in (404, 410) else OSError
            raise kind(f"{path!r}: {error.code} {error.reason}") from error

    def exists(self, path: str) -> bool:
        """Taken for granted: reading will tell."""
        return True

    def is_directory(self, path: str) -> bool:
        """Web servers have none."""
        return False

    def write(self, path: str, save: Save) -> None:
        """Refused."""
        raise _read_only(path)

    def names(self, directory: str) -> list[str]:
        """Refused."""
        raise _read_only(directory)

    def modified(self, path: str) -> float:
        """Refused."""
        raise _read_only(path)

    def remove(self, path: str) -> None:
        """Refused."""
        raise _read_only(path)

    def check(self, directory: str) -> None:
        """Refused."""
        raise _read_only(directory)


def _read_only(path: str) -> MisconfigurationException:
    return MisconfigurationException(f"{path!r}: web servers can only be read from; write to a directory or s3://")


class FsspecFiles:
    """Any file system that fsspec knows.

    Args:
        url: any URL of that scheme.

    Raises:
        MisconfigurationException: fsspec, or its package for the scheme, is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs

            self._fs: AbstractFileSystem = url_to_fs(url)[0]
        except (ImportError, ValueError) as error:
            raise MisconfigurationException(
                f"{url!r}: {error}; use a directory or s3://, or install fsspec's package for this scheme"
            ) from error

    def write(self, path: str, save: Save) -> None:
        """Within a transaction: the file appears when it ends well."""
        self._fs.makedirs(self._fs._parent(path), exist_ok=True)
        with self._fs.transaction, self._fs.open(path, "wb") as stream:
            save(stream)

    def read(self, path: str) -> IO[bytes]:
        """Read all of it."""
        with self._fs.open(path, "rb") as stream:
            return io.BytesIO(stream.read())

    def exists(self, path: str) -> bool:
        """As the file system says."""
        return bool(self._fs.exists(path))

    def is_directory(self, path: str) -> bool:
        """As the file system says."""
        return bool(self._fs.isdir(path))

    def names(self, directory: str) -> list[str]:
        """As the file system says."""
        if not self._fs.isdir(directory):
            return []
        return sorted(name.rstrip("/").rpartition("/")[2] for name in self._fs.ls(directory, detail=False))

    def modified(self, path: str) -> float:
        """As the file system says.

        Raises:
            MisconfigurationException: it does not keep the time.
        """
        try:
            return float(self._fs.modified(path).timestamp())
        except NotImplementedError as error:
            raise MisconfigurationException(
                f"{path!r}: this file system does not say when files were written, so the newest cannot be told; "
                "pass its path as ckpt_path"
            ) from error

    def remove(self, path: str) -> None:
        """A file or a directory."""
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)

    def check(self, directory: str) -> None:
        """The directory can be made."""
        self._fs.makedirs(directory, exist_ok=True)
