"""Looking, beside training, whether a store that took no checkpoint takes writes again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from thunderhead.job.errors import StorageRefused
from thunderhead.store.objects import StoreError
from thunderhead.store.trouble import Trouble, trouble_of

# Between two looks. It grows with every save skipped since the newest commit: a store that answers here and takes no
# checkpoint all the same (another node's way to it is cut) would otherwise hold training up again and again.
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 60.0


class StoreWatch:
    """The thread of rank 0 that looks.

    Args:
        probe: one harmless write; raises while the store takes none.
        on_back: called from the thread, once, when it takes writes again; ``None`` looks at nothing.

    Attributes:
        trouble: what it said last; ``None`` while nothing is known against it.
    """

    def __init__(self, probe: Callable[[], None], on_back: Callable[[], None] | None) -> None:
        self.trouble: Trouble | None = None
        self._probe = probe
        self._on_back = on_back
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, trouble: Trouble, *, in_a_row: int) -> None:
        """A save was skipped for ``trouble``, the ``in_a_row``-th since the newest commit."""
        if self._on_back is None or (self._thread is not None and self._thread.is_alive()):
            return
        self.trouble = trouble
        self._over = threading.Event()
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(in_a_row - 1, 10))
        self._thread = threading.Thread(
            target=self._run, args=(self._over, pause_s, self._on_back), name="thunderhead-store-watch", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """A save was acknowledged, or nobody will save any more. A look in flight is not waited for."""
        self.trouble = None
        self._over.set()

    def _run(self, over: threading.Event, pause_s: float, on_back: Callable[[], None]) -> None:
        while not over.wait(pause_s):
            try:
                self._probe()
            except (StoreError, StorageRefused) as error:
                found = trouble_of(error)
                if not over.is_set():
                    self.trouble = found
                continue
            if not over.is_set():
                self.trouble = None
                on_back()
            return
