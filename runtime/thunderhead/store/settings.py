"""What one rank has to know before it opens the checkpoints of its job: where they lie, and how it takes part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from thunderhead.store.by_uri import open_store
from thunderhead.store.executions import Execution
from thunderhead.store.objects import ObjectStore
from thunderhead_api.names import storage_root

# Below this, splitting a share costs more in requests than it gains in bandwidth.
MIN_SHARE_BYTES: Final = 8 * 1024 * 1024
# How long opening and restoring wait for a store that does not answer: servers restart and fail over within it.
PATIENCE_S: Final = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAddress:
    """Where the checkpoints of a job lie: below ``<uri>/<namespace>/<name>/<uid>``.

    Attributes:
        uri: ``checkpoint.uri`` of the job: ``s3://bucket[/prefix]`` or ``file:///path``.
        namespace: of the job.
        name: of the job.
        uid: of the job.
        endpoint: URL of an S3-compatible server; None: AWS, or what the environment says.
        region: its region; None: what the environment says.
        secret: name of the Secret that the credentials come from, for messages; None: an identity of the pod.
    """

    uri: str
    namespace: str
    name: str
    uid: str
    endpoint: str | None = None
    region: str | None = None
    secret: str | None = None

    @property
    def root(self) -> str:
        """URI of everything of this job."""
        return storage_root(self.uri, self.namespace, self.name, self.uid)

    def open(self, root: str | None = None) -> ObjectStore:
        """The store of this job, or that of another at ``root`` on the same server.

        Raises:
            InvalidConfiguration: the URI is none that we can open.
        """
        return open_store(
            self.root if root is None else root, endpoint=self.endpoint, region=self.region, secret=self.secret
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSettings:
    """How one rank takes part.

    Attributes:
        execution: attempt and round of this execution. Two processes never share one: a restart takes a new attempt or
            round.
        rank: this rank.
        world_size: number of ranks.
        keep: committed checkpoints that stay, at least 1.
        resume: ``"Auto"`` (this job's own), ``"Never"``, or the URI of a manifest or of another job's checkpoints to
            start from while the job has none of its own.
        known: URI of the newest commit that the job's status knows of; where no commit is found, it is missing.
        min_share_bytes: the replicated tree is split over ranks into shares no smaller than this.
        peer_timeout_s: how long to wait for a silent peer.
        patience_s: how long opening and restoring wait for a store that does not answer.
    """

    execution: Execution
    rank: int = 0
    world_size: int = 1
    keep: int = 3
    resume: str = "Auto"
    known: str | None = None
    min_share_bytes: int = MIN_SHARE_BYTES
    peer_timeout_s: float = 1800
    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"keep={self.keep}: at least 1 checkpoint must stay")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank={self.rank} is outside the world of {self.world_size} ranks")
