"""Lines between the agents of one attempt: both ends prove that they know its key, and every frame bears a MAC.

::

    node k                                          node 0
          ◀─────────────────────────────────────── magic, nonce
    nonce, node rank, role, proof of node k ───────▶        a wrong proof is hung up on, without a word
          ◀─────────────────────────────────────── proof of node 0
    frames: length, payload, MAC ◀────────────────▶        a wrong MAC, or one out of turn, ends the line

Proofs and the keys of both directions are HMAC-SHA256 under the attempt's key over all that was exchanged, the job's
uid and the attempt. Nobody without the key learns uid, attempt or names here, or gets a frame accepted; who is on the
path can read the frames, and cut the line. ``docs/adr/attempt-key.md`` says why it is no TLS.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from thunderhead_agent.door import Stranger, read_exactly

MAGIC: Final = b"thunderhead agent 1\n"
NONCE_BYTES: Final = 32
MAC_BYTES: Final = 32
CHALLENGE_BYTES: Final = len(MAGIC) + NONCE_BYTES
MAX_FRAME_BYTES: Final = 512 * 1024
BUFFER_BYTES: Final = 64 * 1024
INTRODUCTION_SECONDS: Final = 5.0
_WHO: Final = struct.Struct(">IB")
_LENGTH: Final = struct.Struct(">I")
_TURN: Final = struct.Struct(">QI")
_ANSWER_BYTES: Final = NONCE_BYTES + _WHO.size + MAC_BYTES

Random = Callable[[int], bytes]


class Role(IntEnum):
    """What a line is for."""

    CONTROL = 1
    STORE = 2


class Forged(ValueError):
    """What came over a line does not bear the MAC it must."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What the agents of one attempt share, and nobody else knows."""

    key: bytes = field(repr=False)
    uid: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Who:
    """Which node opens a line, and what for."""

    node_rank: int
    role: Role


@dataclass(frozen=True, slots=True, repr=False)
class Agreed:
    """What follows from the key and what both sides said."""

    peer_proof: bytes
    hub_proof: bytes
    to_hub: bytes
    from_hub: bytes


def _agree(secret: Secret, who: Who, hub_nonce: bytes, peer_nonce: bytes) -> Agreed:
    uid = secret.uid.encode()
    said = _TURN.pack(secret.attempt, len(uid)) + uid + _WHO.pack(who.node_rank, who.role) + hub_nonce + peer_nonce

    def derived(purpose: bytes) -> bytes:
        return hmac.digest(secret.key, MAGIC + purpose + b"\0" + said, "sha256")

    return Agreed(derived(b"node k proves"), derived(b"node 0 proves"), derived(b"to node 0"), derived(b"from node 0"))


async def receive(sock: socket.socket, secret: Secret, random: Random = os.urandom) -> tuple[Who, Agreed]:
    """Node 0's part of an introduction, over a socket that does not block.

    Raises:
        Stranger: who is there does not know the key.
        OSError, EOFError: they hung up.
    """
    loop = asyncio.get_running_loop()
    nonce = random(NONCE_BYTES)
    await loop.sock_sendall(sock, MAGIC + nonce)
    answer = await read_exactly(sock, _ANSWER_BYTES)
    theirs, claim, proof = answer[:NONCE_BYTES], answer[NONCE_BYTES:-MAC_BYTES], answer[-MAC_BYTES:]
    node_rank, role = _WHO.unpack(claim)
    if role not in set(Role):
        raise Stranger("did not know this attempt's key")
    who = Who(node_rank, Role(role))
    agreed = _agree(secret, who, nonce, theirs)
    if not hmac.compare_digest(proof, agreed.peer_proof):
        raise Stranger("did not know this attempt's key")
    await loop.sock_sendall(sock, agreed.hub_proof)
    return who, agreed


async def dial(host: str, port: int, secret: Secret, who: Who, *, seconds: float, random: Random = os.urandom) -> Line:
    """Open a line to node 0.

    Raises:
        OSError, UnicodeError: it cannot be reached, or not in time.
        Stranger: what answers there is no agent of this attempt, or would not have us.
    """
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(host, port, limit=BUFFER_BYTES)
        try:
            challenge = await reader.readexactly(CHALLENGE_BYTES)
            if not challenge.startswith(MAGIC):
                raise Stranger("what answers there is no agent, or one of another version")
            nonce = random(NONCE_BYTES)
            agreed = _agree(secret, who, challenge[len(MAGIC) :], nonce)
            writer.write(nonce + _WHO.pack(who.node_rank, who.role) + agreed.peer_proof)
            if not hmac.compare_digest(await reader.readexactly(MAC_BYTES), agreed.hub_proof):
                raise Stranger("what answers there does not know this attempt's key")
        except asyncio.IncompleteReadError:
            writer.close()
            raise Stranger("it hung up; it is busy, or does not know our key") from None
        except BaseException:
            writer.close()
            raise
    return Line(reader, writer, ours=agreed.to_hub, theirs=agreed.from_hub)


async def accepted(sock: socket.socket, agreed: Agreed) -> Line:
    """The line over a socket that has been introduced to node 0."""
    reader, writer = await asyncio.open_connection(sock=sock, limit=BUFFER_BYTES)
    return Line(reader, writer, ours=agreed.from_hub, theirs=agreed.to_hub)


class Line:
    """One end of an introduced connection. Frames arrive as they were sent, in order, or the line ends."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, ours: bytes, theirs: bytes
    ) -> None:
        self._reader = reader
        self.writer = writer
        self._ours, self._theirs = ours, theirs
        self._sent = self._received = 0

    def send(self, payload: bytes) -> None:
        """One frame, of at most :data:`MAX_FRAME_BYTES`; never waits."""
        assert 0 < len(payload) <= MAX_FRAME_BYTES, "split by the caller"
        mac = hmac.digest(self._ours, _TURN.pack(self._sent, len(payload)) + payload, "sha256")
        self._sent += 1
        self.writer.write(_LENGTH.pack(len(payload)) + payload + mac)

    async def receive(self) -> bytes:
        """The next frame; empty when the other side has hung up between two.

        Raises:
            Forged: it is none of theirs.
            OSError, EOFError: the connection broke.
        """
        try:
            head = await self._reader.readexactly(_LENGTH.size)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return b""
        (length,) = _LENGTH.unpack(head)
        if not 0 < length <= MAX_FRAME_BYTES:
            raise Forged(f"a frame of {length} bytes")
        frame = await self._reader.readexactly(length + MAC_BYTES)
        payload, mac = frame[:length], frame[length:]
        wanted = hmac.digest(self._theirs, _TURN.pack(self._received, length) + payload, "sha256")
        if not hmac.compare_digest(mac, wanted):
            raise Forged("a frame without the MAC of its turn")
        self._received += 1
        return payload

    @property
    def unsent(self) -> int:
        """Bytes that the other side has not taken yet."""
        return self.writer.transport.get_write_buffer_size()

    @property
    def is_closing(self) -> bool:
        """Whether this side has hung up, or noticed that the connection broke."""
        return self.writer.is_closing()

    def close(self) -> None:
        """Hang up."""
        self.writer.close()
