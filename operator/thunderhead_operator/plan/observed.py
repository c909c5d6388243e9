"""What one pass knows: live reads, and a few hints that only speed things up or explain more."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from thunderhead_api.messages import StatusReply
from thunderhead_operator.plan.code_sight import CodeSight
from thunderhead_operator.plan.kinds import Children, Kind
from thunderhead_operator.plan.objects import Obj


class RefusalKind(StrEnum):
    """Why the API server would not take a child."""

    FORBIDDEN = "Forbidden"  # 403: quota, service account, admission, missing right
    INVALID = "Invalid"  # 422 or 400: what we rendered from the user's template is no valid object
    TAKEN = "Taken"  # the name belongs to somebody else's object


@dataclass(frozen=True)
class Refusal:
    """A child that the API server refused in the pass before."""

    kind: Kind
    name: str
    why: RefusalKind
    message: str
    renewal: bool = False
    """It is there, as it was made before, and stands in nobody's way."""

    @property
    def gist(self) -> tuple[Kind, str, RefusalKind]:
        """What makes it another one: an admission may word each with an id or a time."""
        return self.kind, self.name, self.why


def is_quota(message: str) -> bool:
    """Whether these words of the API server speak of a ResourceQuota."""
    return "exceeded quota" in message or "failed quota" in message


@dataclass(frozen=True)
class Rehearsal:
    """What the API server says of the children that an attempt with this spec would have; ``refusal`` None: it takes
    them."""

    spec_hash: str
    refusal: Refusal | None

    @property
    def gist(self) -> tuple[str, tuple[Kind, str, RefusalKind] | None]:
        """See :attr:`Refusal.gist`."""
        return self.spec_hash, self.refusal.gist if self.refusal else None


@dataclass(frozen=True)
class Sample:
    """What node 0's agent answered, checked against treaty, uid and attempt; untrusted all the same."""

    reply: StatusReply
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Children read live, and hints from memory: without any hint a decision is right, only later or less precise."""

    children: Children = field(default_factory=dict)
    code: Obj | None = None
    """What an attempt's copy of the code is still to be made from; None: not needed or not there."""
    frozen: Obj | None = None
    """The running attempt's frozen job, read when the spec has changed since; None: not needed or not there."""
    code_sight: CodeSight | None = None
    """Hint: how the user's code compared with the attempt's when last looked at."""
    namespace_goes: bool = False
    """The job's namespace is being deleted; looked at where another attempt would follow pods that somebody deleted."""
    refusals: tuple[Refusal, ...] = ()
    """Hint: what the previous pass could not create."""
    rehearsal: Rehearsal | None = None
    """Hint: the newest rehearsal of a changed spec."""
    rehearsed_s: float = float("inf")
    """Hint: seconds since it."""
    ghosts: tuple[Obj, ...] = ()
    """Hint: last sight of pods that were deleted since."""
    silent: frozenset[str] = frozenset()
    """Hint: uids of pods whose node was seen not to answer, though it may answer again by now."""
    sample: Sample | None = None
    """Hint: the newest answer of node 0's agent."""
    quiet_s: float = float("inf")
    """Hint: seconds since our last write of this status."""

    def of(self, kind: Kind) -> tuple[Obj, ...]:
        """The children of one kind."""
        return self.children.get(kind, ())
