"""What the ranks of one execution tell each other about checkpoints: a few small messages, never a collective.

Only two patterns are needed: every rank reports to rank 0, and rank 0 announces to all. A rank that fails leaves its
    reason under one fixed key, which every waiting rank looks at between short waits, so that all end with the same
    reason at once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from thunderhead.job.errors import (
    InvalidConfiguration,
    NothingRestorable,
    Stopped,
    StorageRefused,
    StorageUnavailable,
    Superseded,
    UnsupportedState,
)
from thunderhead.standing import logger_of
from thunderhead.store.objects import Corrupt, Unavailable

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

logger = logger_of(__name__)

_FAILURE: Final = "failure"
_SLICE_S: Final = 0.5
_SHORTEST_PAUSE_S: Final = 0.002
_LONGEST_PAUSE_S: Final = 0.1
# Reasons that a peer raises as its own; every other one is PeerFailed.
_SHARED_REASONS: Final[Mapping[str, type[Exception]]] = {
    reason.__name__: reason
    for reason in (
        *(InvalidConfiguration, UnsupportedState, StorageRefused, NothingRestorable, Superseded),
        *(StorageUnavailable, Stopped, Unavailable, Corrupt),
    )
}


class PeerFailed(RuntimeError):
    """Another rank failed, or did not answer in time; this one is not the culprit."""


class Exchange(Protocol):
    """A small key-value store that the ranks of one execution, and nobody else, share."""

    def set(self, key: str, value: bytes) -> None:
        """Publish; each key is set once."""
        ...

    def get(self, key: str, timeout_s: float) -> bytes | None:
        """The value, or ``None`` when nobody set it within ``timeout_s``; 0 looks without waiting."""
        ...

    def forget(self, key: str) -> None:
        """Drop a value that nobody will read again."""
        ...


class LocalExchange:
    """An exchange inside one process: world size 1, or ranks that are threads."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def set(self, key: str, value: bytes) -> None:
        with self._changed:
            self._values[key] = value
            self._changed.notify_all()

    def get(self, key: str, timeout_s: float) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: key in self._values, timeout_s)
            return self._values.get(key)

    def forget(self, key: str) -> None:
        with self._changed:
            self._values.pop(key, None)


class StoreExchange:
    """An exchange over a ``torch.distributed`` store.

    It looks rather than waits: a client that waits blocks every thread that shares it, and logs each time-out.

    Args:
        store: already made unique to this execution, by a ``PrefixStore``.
        sleep: pauses between looks.
        monotonic: the clock of the waiting.
    """

    def __init__(
        self,
        store: Store,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._sleep = sleep
        self._monotonic = monotonic

    def set(self, key: str, value: bytes) -> None:
        with _while_it_lasts():
            self._store.set(key, value)  # type: ignore[arg-type] # it takes bytes too and declares only str

    def get(self, key: str, timeout_s: float) -> bytes | None:
        deadline = self._monotonic() + timeout_s
        pause = _SHORTEST_PAUSE_S
        with _while_it_lasts():
            while not self._store.check([key]):
                left = deadline - self._monotonic()
                if left <= 0:
                    return None
                self._sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            return bytes(self._store.get(key))

    def forget(self, key: str) -> None:
        with _while_it_lasts():
            self._store.delete_key(key)


@contextmanager
def _while_it_lasts() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # DistNetworkError where the connection broke, plain RuntimeError where the client was closed.
        raise PeerFailed(f"the store that the ranks share is gone: {error}") from error


class Peers:
    """The two patterns, for one rank.

    Args:
        exchange: shared by the ranks of this execution.
        rank: this rank.
        world_size: number of ranks.
        timeout_s: how long to wait for a silent peer. Only a backstop: whoever watches the processes notices earlier.
        monotonic: the clock of the waiting.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        rank: int,
        world_size: int,
        timeout_s: float = 1800,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self._exchange = exchange
        self._timeout_s = timeout_s
        self._monotonic = monotonic

    def report(self, topic: str, message: object) -> None:
        """Tell rank 0 (JSON)."""
        self._exchange.set(f"{topic}/{self.rank}", json.dumps(message).encode())

    def reports(self, topic: str) -> list[Any]:
        """Rank 0: what every rank reported, by rank.

        Raises:
            PeerFailed: a rank stayed silent; or the reason another rank failed for.
        """
        found = []
        for rank in range(self.world_size):
            key = f"{topic}/{rank}"
            found.append(self._wait(key, f"rank {rank}"))
            # Reports of large shards are long, and a run saves many thousand times.
            self._exchange.forget(key)
        return found

    def announce(self, topic: str, message: Mapping[str, Any]) -> None:
        """Rank 0: tell every rank (JSON)."""
        self._exchange.set(f"{topic}/all", json.dumps(message).encode())

    def announced(self, topic: str) -> dict[str, Any]:
        """What rank 0 announced.

        Raises:
            PeerFailed: rank 0 stayed silent; or the reason another rank failed for.
        """
        found: dict[str, Any] = self._wait(f"{topic}/all", "rank 0")
        return found

    def fail(self, error: Exception) -> None:
        """Leave the reason for every rank that waits, now or later; the first reason stands.

        Where the exchange is gone nobody waits on it, and the caller's own reason must not give way to that.
        """
        if isinstance(error, PeerFailed):
            return
        reason = {"type": type(error).__name__, "message": str(error), "rank": self.rank}
        try:
            if self._exchange.get(_FAILURE, 0) is None:
                self._exchange.set(_FAILURE, json.dumps(reason).encode())
        except PeerFailed as gone:
            logger.warning("the other ranks cannot be told of %s: %s", reason["type"], gone)

    def _wait(self, key: str, who: str) -> Any:
        deadline = self._monotonic() + self._timeout_s
        slice_s = 0.0
        while True:
            value = self._exchange.get(key, slice_s)
            if value is not None:
                return json.loads(value)
            self._raise_failure()
            slice_s = _SLICE_S
            if self._monotonic() > deadline:
                raise PeerFailed(f"{who} did not answer within {self._timeout_s:g} s ({key})")

    def _raise_failure(self) -> None:
        value = self._exchange.get(_FAILURE, 0)
        if value is None:
            return
        reason = json.loads(value)
        shared = _SHARED_REASONS.get(reason["type"])
        if shared is None:
            raise PeerFailed(f"rank {reason['rank']} failed: {reason['type']}: {reason['message']}")
        raise shared(f"{reason['message']} (found by rank {reason['rank']})")
