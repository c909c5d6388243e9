"""What agents of one attempt say to each other: one JSON object a frame of a :class:`~thunderhead_agent.sealed.Line`.

::

    node k                           node 0
    Hello ─────────────────────────▶        who this is; a second pod of the same node is refused
          ◀───────────────────────── Go     everyone is here: workers may start
    Report (each second) ──────────▶        what this node's ranks are doing
    Failed (first end that is one) ▶        ordered by arrival, the only clock all share
    Finished (all workers ended) ──▶
          ◀──────────────────────── Verdict how this execution ended, and whose fault it was
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from thunderhead_api.messages import Culprit, Message, Name, RankStatus, Text
from thunderhead_api.treaty import TREATY_VERSION, Outcome

MAX_RANKS = 1024
"""Of one node's report."""


class Hello(Message):
    """A node introduces itself."""

    type: Literal["hello"] = "hello"
    treaty: int = TREATY_VERSION
    round: int = 0
    node_rank: int
    pod: Name
    node: Name | None = None


class Refused(Message):
    """Node 0 will not have this peer."""

    type: Literal["refused"] = "refused"
    reason: Text


class Go(Message):
    """All nodes have met; workers may start."""

    type: Literal["go"] = "go"
    round: int = 0


class Report(Message):
    """What one node's ranks are doing."""

    type: Literal["report"] = "report"
    ranks: list[RankStatus] = Field(max_length=MAX_RANKS)


class Failure(Message):
    """One failed worker (or a lost agent: no rank), as its node saw it.

    Attributes:
        weight: 0 a cause of its own; 1 may be either; 2 only a symptom of a peer's death.
    """

    outcome: Outcome
    weight: int
    culprit: Culprit


class Failed(Message):
    """A worker of this node failed."""

    type: Literal["failed"] = "failed"
    failure: Failure


class Finished(Message):
    """Every worker of this node has ended, none of them by a failure."""

    type: Literal["finished"] = "finished"
    outcome: Outcome


class Withdraw(Message):
    """This node was asked to stop before its workers started."""

    type: Literal["withdraw"] = "withdraw"


class Verdict(Message):
    """How the execution ended, the same for all nodes."""

    type: Literal["verdict"] = "verdict"
    outcome: Outcome
    culprit: Culprit | None = None


FromPeer = Hello | Report | Failed | Finished | Withdraw
FromHub = Refused | Go | Verdict

_FROM_PEER: TypeAdapter[FromPeer] = TypeAdapter(Annotated[FromPeer, Field(discriminator="type")])
_FROM_HUB: TypeAdapter[FromHub] = TypeAdapter(Annotated[FromHub, Field(discriminator="type")])


def encode(message: Message) -> bytes:
    """One frame."""
    return message.model_dump_json(by_alias=True).encode()


def from_peer(frame: bytes) -> FromPeer:
    """Parse what node 0 receives.

    Raises:
        ValueError: not one of our messages.
    """
    return _FROM_PEER.validate_json(frame)


def from_hub(frame: bytes) -> FromHub:
    """Parse what node 0 sends.

    Raises:
        ValueError: not one of our messages.
    """
    return _FROM_HUB.validate_json(frame)
