"""Job checkpoints: committed, checksummed, without pickle. ``docs/checkpoints.md`` is the contract.

Importing this package costs neither torch nor boto3; what is called does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from thunderhead.store.epochs import Epoch
from thunderhead.store.objects import ObjectStore, open_store

if TYPE_CHECKING:
    from thunderhead.store.exchange import Exchange
    from thunderhead.store.job_checkpoints import EpochCheckpoints

__all__ = ["Epoch", "ObjectStore", "job_uri", "open_job_checkpoints", "open_store"]


def job_uri(uri: str, namespace: str, job: str, uid: str) -> str:
    """Where everything of one job lies: ``<uri>/<namespace>/<job>/<uid>``."""
    return f"{uri.rstrip('/')}/{namespace}/{job}/{uid}"


def open_job_checkpoints(
    uri: str,
    *,
    namespace: str,
    job: str,
    uid: str,
    attempt: int,
    round: int = 0,
    rank: int,
    world_size: int,
    exchange: Exchange | None = None,
    endpoint: str | None = None,
    region: str | None = None,
    keep: int = 3,
    resume: str = "Auto",
    on_commit: Callable[[int, str, float], None] | None = None,
    clock: Callable[[], float] = time.time,
    peer_timeout_s: float = 1800,
) -> EpochCheckpoints:
    """Job checkpoints of one rank; implements :class:`thunderhead.job.link.JobCheckpoints`.

    Nothing is read or written yet.

    Args:
        uri: ``checkpoint.uri`` of the job: ``s3://bucket[/prefix]`` or ``file:///path``.
        namespace, job, uid: of the job; its objects lie under ``<uri>/<namespace>/<job>/<uid>/``.
        attempt, round: this execution. Two processes never share one: a restart takes a new attempt or round.
        rank, world_size: of this process.
        exchange: how the ranks of this execution talk, usually
            ``StoreExchange(PrefixStore(f"checkpoints/{attempt}-{round}", store))``; may be omitted at world size 1.
        endpoint, region: of an S3-compatible server.
        keep: committed checkpoints that stay.
        resume: ``"Auto"``, ``"Never"``, or the URI of a manifest or of another job's checkpoints.
        on_commit: called on every rank with step, manifest URI and Unix time whenever the newest acknowledged
            checkpoint becomes known or changes.
        clock: Unix time in seconds.
        peer_timeout_s: how long to wait for a silent peer.

    Raises:
        InvalidConfiguration: ``uri`` is none that we can open.
        ValueError: ``keep`` or ``rank`` out of range, or no exchange for several ranks.
    """
    from thunderhead.store.exchange import LocalExchange
    from thunderhead.store.job_checkpoints import CheckpointSettings, EpochCheckpoints

    if exchange is None and world_size > 1:
        raise ValueError(f"world_size={world_size} needs an exchange between the ranks; pass StoreExchange(...)")
    return EpochCheckpoints(
        open_store(job_uri(uri, namespace, job, uid), endpoint=endpoint, region=region),
        CheckpointSettings(
            epoch=Epoch(attempt, round),
            rank=rank,
            world_size=world_size,
            keep=keep,
            resume=resume,
            peer_timeout_s=peer_timeout_s,
        ),
        exchange or LocalExchange(),
        open_store=lambda other: open_store(other, endpoint=endpoint, region=region),
        on_commit=on_commit,
        clock=clock,
    )
