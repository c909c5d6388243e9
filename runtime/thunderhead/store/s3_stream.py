"""One S3 object written as it is made, without ever holding all of it.

Parts go up beside the writer, a few at a time: who writes faster than the network takes waits for it. Nothing is
visible until all parts are there, and what breaks off leaves nothing behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from thunderhead.store.objects import Body, Upload
from thunderhead.store.s3 import PART_BYTES, PartTag, S3Store

_THREADS: Final = 4


class PartsWriter:
    """The writable end of one upload.

    Args:
        store: where the object goes.
        key: its key.
        part_bytes: size of a part; a smaller object is written by a single request.
    """

    def __init__(self, store: S3Store, key: str, part_bytes: int) -> None:
        self._store = store
        self._key = key
        self._part_bytes = part_bytes
        self._buffer = bytearray()
        self._upload: Upload | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._running: deque[Future[PartTag]] = deque()
        self._parts: list[PartTag] = []
        self._begun = 0
        self._size = 0

    def write(self, body: Body) -> int:
        """Take some more bytes."""
        self._buffer += body
        self._size += len(body)
        while len(self._buffer) >= self._part_bytes:
            part = bytes(self._buffer[: self._part_bytes])
            del self._buffer[: self._part_bytes]
            self._send(part)
        return len(body)

    def flush(self) -> None:
        """Nothing is visible before the end, so there is nothing to do."""

    def finish(self) -> None:
        """All bytes are written: the object appears."""
        if self._upload is None:
            self._store.put(self._key, self._buffer)
            return
        if self._buffer:
            self._send(bytes(self._buffer))
        while self._running:
            self._parts.append(self._running.popleft().result())
        self._shut()
        self._store.finish(self._upload, self._parts, self._size)

    def abandon(self) -> None:
        """Forget all of it; parts that nobody finishes would be kept, and paid for."""
        self._shut()
        if self._upload is not None:
            self._store.abandon(self._upload)

    def _send(self, part: bytes) -> None:
        if self._upload is None or self._pool is None:
            self._upload = self._store.begin(self._key)
            self._pool = ThreadPoolExecutor(_THREADS)
        if len(self._running) >= _THREADS:
            self._parts.append(self._running.popleft().result())
        self._begun += 1
        self._running.append(self._pool.submit(self._store.put_part, self._upload, self._begun, part))

    def _shut(self) -> None:
        # A part that is still going up would otherwise come to lie beside an upload that is gone.
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def writing(store: S3Store, key: str, *, part_bytes: int = PART_BYTES) -> Iterator[PartsWriter]:
    """A writer for ``key``; the object appears when the block ends, and does not if it raises."""
    writer = PartsWriter(store, key, part_bytes)
    try:
        yield writer
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
