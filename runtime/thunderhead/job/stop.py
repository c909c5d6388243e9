"""Agreeing on the moment after which all ranks stop, save or finish, without the training threads' help.

A thread per rank talks over a c10d store, in two phases:

1. *Intent.* Whoever wants something writes it down, once for all; every rank's thread sees it.
2. *Promise.* Each thread sets ``limit``, a tick its training thread will not pass undecided, and writes it down. The
   decision is the largest of all promises: every rank can still reach it, and none has gone beyond.

The promise is sound because both sides write before they read: the training thread writes ``running`` and then reads
``limit``; this thread writes ``limit`` and then reads ``running`` again. Whichever comes first, one of them sees the
other. A rank that waits at its limit needs only the threads of the others, so ranks that stand in a collective or in
a long validation do not hold the decision up.

Per step the training thread pays one store and one comparison of integers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Protocol

from thunderhead.job.errors import NoAgreement
from thunderhead.job.link import Ask

NEVER: Final = 2**100
_STEP_BITS: Final = 40
_LOADER_BITS: Final = 28
_STAY_S: Final = 5.0


def boundary_tick(step: int) -> int:
    """The tick at which step ``step`` and all that follows it is done, before the next step begins."""
    return ((step + 1) << _STEP_BITS) - 1


def evaluation_tick(step: int, loader: int, batch: int | None) -> int:
    """The tick before a batch of an evaluation after step ``step``; None for the end of that loader."""
    last = (1 << _LOADER_BITS) - 1
    return (step << _STEP_BITS) + (loader << _LOADER_BITS) + (last if batch is None else min(batch, last))


class KeyValueStore(Protocol):
    """What is used of a ``torch.distributed.Store``."""

    def set(self, key: str, value: str, /) -> None:
        """Write a value."""

    def get(self, key: str, /) -> bytes:
        """Read a value that is there."""

    def check(self, keys: list[str], /) -> bool:
        """Whether all keys are there."""

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        """Write a value unless there is one; what is there afterwards."""


class StopAgreement:
    """Implements :class:`thunderhead.job.link.StopControl` for one rank of many, or for a single process.

    Args:
        asked: whether this rank's node was asked to stop (the board's STOP word); looked at by the thread.
        store: shared by the ranks of this execution alone; None for a single process.
        rank: this rank.
        world_size: number of ranks.
        poll_s: seconds between looks.
        timeout_s: how long to wait for the promises of the others.
        clock: seconds, ever increasing.
    """

    def __init__(
        self,
        *,
        asked: Callable[[], bool] = lambda: False,
        store: KeyValueStore | None = None,
        rank: int = 0,
        world_size: int = 1,
        poll_s: float = 0.1,
        timeout_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert (store is not None) == (world_size > 1), "several ranks agree over a store, a single one needs none"
        self.running = 0
        self.limit = NEVER
        self._asked = asked
        self._store = store
        self._rank = rank
        self._world_size = world_size
        self._poll_s = poll_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._wanted: set[Ask] = set()
        self._agreement = 0
        self._decision: tuple[Ask, int] | None = None
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="thunderhead-stop", daemon=True)

    def start(self) -> StopAgreement:
        """Begin to watch; returns itself."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop watching. Safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def request(self, ask: Ask) -> None:
        """See :meth:`thunderhead.job.link.StopControl.request`."""
        with self._changed:
            self._wanted.add(ask)
            self._changed.notify_all()

    def resolve(self, tick: int) -> Ask | None:
        """See :meth:`thunderhead.job.link.StopControl.resolve`."""
        with self._changed:
            self._changed.wait_for(lambda: self._decision is not None or self._error is not None or self._closed)
            if self._error is not None:
                raise NoAgreement(str(self._error)) from self._error
            if self._decision is None:
                self.limit = NEVER
                return None
            ask, agreed = self._decision
            if tick < agreed:
                self.limit = agreed
                return None
            self._decision = None
            self.limit = NEVER
            self._changed.notify_all()
            return ask

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closed:
                ask = self._intent()
                if ask is None:
                    self._sleep()
                    continue
                agreed = self._agree()
                if agreed is None:
                    return
                with self._changed:
                    self._decision = (ask, agreed)
                    self.limit = agreed
                    self._wanted.discard(ask)
                    self._changed.notify_all()
                    # The next agreement begins when the training thread has carried this one out.
                    self._changed.wait_for(lambda: self._decision is None or self._closed)
                self._agreement += 1
                if ask is Ask.STOP:
                    self._stay()
                    return
        except Exception as error:  # noqa: BLE001 - raised in the training thread, which waits for it
            with self._changed:
                self._error = error
                self.limit = 0
                self._changed.notify_all()

    def _sleep(self) -> None:
        with self._changed:
            if not self._closed and not self._wanted:
                self._changed.wait(self._poll_s)

    def _intent(self) -> Ask | None:
        """What is to be agreed on now, if anybody wants something."""
        wanted = Ask.STOP if self._asked() else max(self._wanted, default=None)
        if self._store is None:
            return wanted
        key = f"{self._agreement}/intent"
        if wanted is not None:
            return Ask(int(self._store.compare_set(key, "", str(int(wanted)))))
        return Ask(int(self._store.get(key))) if self._store.check([key]) else None

    def _agree(self) -> int | None:
        """The agreed tick; None when closed meanwhile."""
        promise = self._promise()
        store = self._store
        if store is None:
            return promise
        store.set(f"{self._agreement}/limit/{self._rank}", str(promise))
        keys = [f"{self._agreement}/limit/{rank}" for rank in range(self._world_size)]
        give_up = self._clock() + self._timeout_s
        while not store.check(keys):
            if self._closed:
                return None
            if self._clock() > give_up:
                silent = [rank for rank, key in enumerate(keys) if not store.check([key])]
                raise TimeoutError(
                    f"ranks {silent} did not answer within {self._timeout_s:g} s when all were to stop together; "
                    "the newest committed checkpoint stands"
                )
            time.sleep(min(self._poll_s, 0.01))
        agreed = max(int(store.get(key)) for key in keys)
        store.set(f"{self._agreement}/read/{self._rank}", "")
        return agreed

    def _stay(self) -> None:
        """Rank 0's process may serve the store, and ends after a stop: not before all have read the decision.

        Who closes this waits for it. A rank that died meanwhile costs the time that is given here, nothing else.
        """
        if self._store is None or self._rank != 0:
            return
        keys = [f"{self._agreement - 1}/read/{rank}" for rank in range(self._world_size)]
        give_up = self._clock() + _STAY_S
        while not self._store.check(keys) and self._clock() < give_up:
            time.sleep(min(self._poll_s, 0.01))

    def _promise(self) -> int:
        while True:
            promised = self.running
            self.limit = promised
            # Written before this is read: the training thread either sees the limit or is seen to have gone on.
            if self.running == promised:
                return promised


def over_process_group_store(prefix: str, **options: object) -> StopAgreement:
    """An agreement over the store of the default process group, for runs outside of a job."""
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

    store = PrefixStore(prefix, _get_default_store())
    store.set_timeout(timedelta(seconds=60))
    return StopAgreement(store=store, rank=dist.get_rank(), world_size=dist.get_world_size(), **options)  # type: ignore[arg-type]
