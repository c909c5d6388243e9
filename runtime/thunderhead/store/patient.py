"""A store that is waited for: opening and restoring outlast a gap in which it does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from thunderhead.standing import logger_of
from thunderhead.store.objects import Body, ObjectInfo, ObjectStore, Unavailable, Upload

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0

logger = logger_of(__name__)


class PatientStore:
    """An :class:`~thunderhead.store.objects.ObjectStore` over another, trying again what got no answer.

    Trying again is safe: reads change nothing, and who creates an object reads it back before believing that another
    did.

    Args:
        store: the other; its own short retries come first.
        hurried: whether somebody has asked us to stop, so that waiting has lost its purpose.
        sleep: pauses between tries.
        monotonic: the clock of the waiting.

    Attributes:
        patience_s: how long it is waited for, all gaps together; 0 passes every failure on.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        hurried: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.patience_s = 0.0
        self._store = store
        self._hurried = hurried
        self._sleep = sleep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._away_since: float | None = None
        self._waited_s = 0.0

    def uri(self, key: str = "") -> str:
        return self._store.uri(key)

    def put(self, key: str, body: Body, *, if_none_match: bool = False) -> None:
        self._outlast(lambda: self._store.put(key, body, if_none_match=if_none_match))

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._outlast(lambda: self._store.get(key, start=start, length=length))

    def size(self, key: str) -> int:
        return self._outlast(lambda: self._store.size(key))

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]:
        # Whole or not at all: a listing that breaks off on its second page begins anew.
        return iter(self._outlast(lambda: list(self._store.scan(prefix))))

    def delete(self, key: str) -> None:
        self._outlast(lambda: self._store.delete(key))

    def uploads(self, prefix: str) -> list[Upload]:
        return self._outlast(lambda: self._store.uploads(prefix))

    def abandon(self, upload: Upload) -> None:
        self._outlast(lambda: self._store.abandon(upload))

    def _outlast(self, operation: Callable[[], T]) -> T:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                result = operation()
            except Unavailable as error:
                if not self._may_wait(error, pause):
                    raise
            except BaseException:
                self._answered()  # no, not there, already there: an answer
                raise
            else:
                self._answered()
                return result
            self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _may_wait(self, error: Unavailable, pause: float) -> bool:
        """One gap of the store, however many operations meet it at once, is waited for once."""
        with self._lock:
            now = self._monotonic()
            left = self.patience_s - self._waited_s
            if self._away_since is None:
                self._away_since = now
                if left > pause:
                    logger.warning("%s; trying again for up to %g s", error, left)
            return now + pause - self._away_since <= left and not self._hurried()

    def _answered(self) -> None:
        if self._away_since is None:
            return
        with self._lock:
            if self._away_since is not None:
                self._waited_s += self._monotonic() - self._away_since
                self._away_since = None
