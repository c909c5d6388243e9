"""A door that strangers may knock at: how many may stand in it, for how long, and whose place a newcomer takes.

Who is let in answers within milliseconds, so a newcomer never waits for those who stand there: when the door is full,
the one who has stood there longest goes, of the address that has the most. Nothing is read ahead of what is asked for,
so a guest costs a socket, a task and what the kernel buffers.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from thunderhead_agent.addresses import plain_address

Receive = Callable[[socket.socket, str], Awaitable[bool]]
"""Speaks to a guest (a socket that does not block, its address); True: the socket is kept and is the receiver's now."""
TurnedAway = Callable[[str, str], None]
"""Told the address of a guest that was not let in, and why."""

BREATH_SECONDS = 0.1
"""Pause after an accept that failed, for want of descriptors mostly."""


class Stranger(Exception):
    """A guest that is not let in; the message is one of a few, and says nothing that the guest said."""


@dataclass(eq=False, slots=True)
class _Guest:
    address: str
    task: asyncio.Task[None] | None = None
    evicted: bool = False


@dataclass(slots=True, kw_only=True)
class Door:
    """Accepts connections for as long as :meth:`stand_open` runs.

    Attributes:
        listener: a listening socket; closed in the end.
        seconds: how long a guest may take.
        total: guests at once; ``per_address``: of one address.
    """

    listener: socket.socket
    receive: Receive
    seconds: float
    total: int
    per_address: int
    turned_away: TurnedAway
    _guests: dict[str, dict[_Guest, None]] = field(default_factory=dict)  # by address, the oldest first
    _count: int = 0

    async def stand_open(self) -> None:
        """Let guests in until cancelled."""
        loop = asyncio.get_running_loop()
        self.listener.setblocking(False)
        try:
            while True:
                try:
                    sock, where = await loop.sock_accept(self.listener)
                except OSError:
                    self.turned_away("nobody", "could not be accepted")
                    await asyncio.sleep(BREATH_SECONDS)
                    continue
                self._enter(sock, plain_address(where[0]))
                # An accept that need not wait does not yield; those who are inside come first.
                await asyncio.sleep(0)
        finally:
            for guest in [guest for guests in self._guests.values() for guest in guests]:
                self._evict(guest)
            self.listener.close()

    def _enter(self, sock: socket.socket, address: str) -> None:
        crowd = self._guests.get(address, {})
        if len(crowd) >= self.per_address:
            self._evict(next(iter(crowd)))
        elif self._count >= self.total:
            most = max(self._guests, key=lambda address: len(self._guests[address]))
            self._evict(next(iter(self._guests[most])))
        guest = _Guest(address)
        self._guests.setdefault(address, {})[guest] = None
        self._count += 1
        guest.task = asyncio.get_running_loop().create_task(self._attend(guest, sock))

    def _evict(self, guest: _Guest) -> None:
        guest.evicted = True
        self._forget(guest)
        if guest.task is not None:
            guest.task.cancel()

    def _forget(self, guest: _Guest) -> None:
        crowd = self._guests.get(guest.address, {})
        if guest in crowd:
            del crowd[guest]
            self._count -= 1
            if not crowd:
                del self._guests[guest.address]

    async def _attend(self, guest: _Guest, sock: socket.socket) -> None:
        kept = False
        try:
            async with asyncio.timeout(self.seconds):
                kept = await self.receive(sock, guest.address)
        except TimeoutError:
            self.turned_away(guest.address, f"took longer than {self.seconds:g} s")
        except Stranger as stranger:
            self.turned_away(guest.address, str(stranger))
        except (OSError, EOFError):
            self.turned_away(guest.address, "hung up")
        except asyncio.CancelledError:
            if not guest.evicted:
                raise
            self.turned_away(guest.address, "had to make room")
        finally:
            self._forget(guest)
            if not kept:
                sock.close()


async def read_exactly(sock: socket.socket, size: int) -> bytes:
    """``size`` bytes and not one more.

    Raises:
        EOFError: the other side hung up before.
    """
    loop = asyncio.get_running_loop()
    read = bytearray()
    while len(read) < size:
        chunk = await loop.sock_recv(sock, size - len(read))
        if not chunk:
            raise EOFError("hung up")
        read += chunk
    return bytes(read)


class Tally:
    """Counts who was turned away, and says so in one line per period, however many there are."""

    def __init__(self, say: Callable[[str], None], *, first_s: float = 1.0, period_s: float = 30.0) -> None:
        """``first_s``: how long the first of them waits for others to be told with it."""
        self._say = say
        self._first_s = first_s
        self._period_s = period_s
        self._counts: dict[str, int] = {}
        self._last = ""
        self._said_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, address: str, reason: str) -> None:
        """One more."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._last = address
        if self._timer is None:
            loop = asyncio.get_running_loop()
            due = max(loop.time() + self._first_s, self._said_at + self._period_s)
            self._timer = loop.call_at(due, self.tell)

    def tell(self) -> None:
        """Say what has not been said."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer, self._said_at = None, asyncio.get_running_loop().time()
        total = sum(self._counts.values())
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(self._counts.items()))
        self._counts = {}
        self._say(f"turned away {total} connection{'s' * (total > 1)}, the last from {self._last}: {why}")
