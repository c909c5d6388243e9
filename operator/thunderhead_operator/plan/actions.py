"""What a decision may ask for: a closed set of frozen records, done by ``cluster.perform``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Manifest


@dataclass(frozen=True)
class WriteStatus:
    """Merge-patch the status, unless the job has changed since it was read."""

    patch: dict[str, Any]
    resource_version: str


@dataclass(frozen=True)
class Notice:
    """An Event for people; posted only after the status write of its pass, at best effort."""

    reason: str
    note: str
    warning: bool = False


@dataclass(frozen=True)
class CreateChild:
    """Create a child; one of our own that is there already is as good."""

    kind: Kind
    manifest: Manifest


@dataclass(frozen=True)
class RenewChild:
    """Give a child of ours that is there the specification it would be made with now. What others have added to its
    metadata stays; of one that is gone, or somebody else's by then, nothing is made."""

    kind: Kind
    manifest: Manifest


@dataclass(frozen=True)
class Rehearse:
    """Ask the API server whether it would take these children of an attempt with the spec of this hash; none is
    made."""

    spec_hash: str
    children: tuple[CreateChild, ...]


@dataclass(frozen=True)
class CreateKey:
    """Create a Secret with a key that is drawn as it is made, and that nobody here keeps. It goes with ``owner``.

    Whether there is one already cannot be seen, for Secrets are not ours to read: then the create meets it, which is as
    good."""

    manifest: Manifest
    key_name: str
    owner: str
    """Name of a ConfigMap of ours, which is there by then."""


@dataclass(frozen=True)
class DeleteChild:
    """Delete this very object (uid); ``grace_s`` 0 means by force, None the object's own grace period."""

    kind: Kind
    name: str
    uid: str
    grace_s: int | None = None


@dataclass(frozen=True)
class DeleteJob:
    """Delete the job itself, children in the background."""

    uid: str


Action = WriteStatus | Notice | CreateChild | CreateKey | RenewChild | Rehearse | DeleteChild | DeleteJob


@dataclass(frozen=True)
class Decision:
    """What to do now, and in how many seconds to look again even if nothing happens (None: no need)."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
