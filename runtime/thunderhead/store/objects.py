"""The object store as job checkpoints see it: eight operations and four ways to fail.

StoreError
├── NotFound             no such object
├── PreconditionFailed   ``put(..., if_none_match=True)`` found an object of that key
├── Corrupt              what was read is not what was written
└── Unavailable          no answer, or "try later", within the bounded retries; whether a write took effect is unknown

A store that says no for good (denied, wrong credentials, no such bucket) raises
:class:`thunderhead.job.errors.StorageRefused`, at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

Body = bytes | bytearray | memoryview


class StoreError(RuntimeError):
    """Base of what a store raises about one object."""


class NotFound(StoreError):
    """No object of that key."""


class PreconditionFailed(StoreError):
    """An object of that key exists already."""


class Corrupt(StoreError):
    """What was read is not what was written."""


class Unavailable(StoreError):
    """The store did not answer within the bounded retries. A write may have taken effect, or may yet."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One entry of a listing.

    Attributes:
        key: relative to the store's root.
        size: in bytes.
    """

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun and not finished.

    Attributes:
        key: what it was to become, or a name beside it.
        id: the store's own name for it.
    """

    key: str
    id: str


class ObjectStore(Protocol):
    """Objects under one root. Keys are relative to it and use ``/``.

    An object appears whole or not at all; a listing or read that starts after a write has returned sees it. Every
    method may raise :class:`Unavailable` and :class:`~thunderhead.job.errors.StorageRefused`.
    """

    def uri(self, key: str = "") -> str:
        """The full address of ``key``, for people and for ``checkpoint.resume``."""
        ...

    def put(self, key: str, body: Body, *, if_none_match: bool = False) -> None:
        """Write one object; with ``if_none_match`` only where there is none.

        Raises:
            PreconditionFailed: with ``if_none_match``, when there is one. After a lost reply it may be our own.
        """
        ...

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Read ``length`` bytes from ``start`` on (to the end without ``length``); fewer where the object ends.

        Raises:
            NotFound: there is none.
        """
        ...

    def size(self, key: str) -> int:
        """Size in bytes.

        Raises:
            NotFound: there is none.
        """
        ...

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix``, in order of keys."""
        ...

    def delete(self, key: str) -> None:
        """Delete one object; deleting what is not there is no error."""
        ...

    def uploads(self, prefix: str) -> list[Upload]:
        """Uploads under ``prefix`` that were begun and not finished; some may still be going on."""
        ...

    def abandon(self, upload: Upload) -> None:
        """Drop an unfinished upload; one that is gone is no error."""
        ...
