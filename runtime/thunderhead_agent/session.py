"""What an agent needs from the group of agents; node 0 has it in memory (``hub``), the others over TCP (``peer``)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from thunderhead_agent.wire import Failure, Verdict
from thunderhead_api.messages import RankStatus
from thunderhead_api.treaty import Outcome


@dataclass(frozen=True, slots=True)
class Meeting:
    """All nodes have met: workers may start, and find their store on this port of their own node's loopback."""

    round: int
    store_port: int


class Session(Protocol):
    """The group in one round, seen from one node."""

    verdict: asyncio.Future[Verdict]
    """Set once, when the round has ended; possibly before anyone has met."""

    @property
    def missing(self) -> list[int]:
        """Nodes that have not come yet, as far as this node would know."""
        ...

    @property
    def others(self) -> list[tuple[float, list[RankStatus]]]:
        """What other nodes have reported to this one, each with its age in seconds."""
        ...

    async def meet(self) -> Meeting:
        """Wait until all nodes are here and the workers' store is up."""
        ...

    def report(self, ranks: Sequence[RankStatus]) -> None:
        """State what this node's ranks are doing; never waits."""
        ...

    def fail(self, failure: Failure) -> None:
        """Report a failed worker of this node."""
        ...

    def finish(self, outcome: Outcome) -> None:
        """State that all workers of this node have ended well."""
        ...

    def withdraw(self) -> None:
        """State that this node was asked to stop before its workers started."""
        ...

    def conclude(self) -> None:
        """Give a verdict from what this node knows, if there is none yet and something is known."""
        ...

    async def close(self) -> None:
        """Leave; node 0 waits a moment until everyone has heard the verdict."""
        ...
