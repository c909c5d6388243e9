"""Job checkpoints: committed, checksummed, without pickle. ``docs/checkpoints.md`` is the contract.

Importing this package costs neither torch nor boto3; what is called does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from thunderhead.store.by_uri import open_store
from thunderhead.store.executions import Execution
from thunderhead.store.objects import ObjectStore
from thunderhead.store.settings import CheckpointSettings, JobAddress

if TYPE_CHECKING:
    from thunderhead.store.exchange import Exchange
    from thunderhead.store.job_checkpoints import ExecutionCheckpoints

__all__ = ["CheckpointSettings", "Execution", "JobAddress", "ObjectStore", "open_job_checkpoints", "open_store"]


def open_job_checkpoints(
    address: JobAddress,
    settings: CheckpointSettings,
    *,
    exchange: Exchange | None = None,
    on_commit: Callable[[int, str, float], None] | None = None,
    on_back: Callable[[], None] | None = None,
    asked: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.time,
) -> ExecutionCheckpoints:
    """Job checkpoints of one rank; implements :class:`thunderhead.job.link.JobCheckpoints`.

    Nothing is read or written yet.

    Args:
        address: where they lie.
        settings: how this rank takes part.
        exchange: how the ranks of this execution talk, usually
            ``StoreExchange(PrefixStore(f"checkpoints/{attempt}-{round}", store))``; may be omitted at world size 1.
        on_commit: called on every rank with step, manifest URI and Unix time whenever the newest acknowledged
            checkpoint becomes known or changes.
        on_back: called on rank 0 when a store that took no checkpoint takes writes again.
        asked: whether this rank was asked to stop.
        clock: Unix time in seconds.

    Raises:
        InvalidConfiguration: the address is none that we can open.
        ValueError: no exchange for several ranks.
    """
    from thunderhead.store.exchange import LocalExchange
    from thunderhead.store.job_checkpoints import ExecutionCheckpoints

    world_size = settings.world_size
    if exchange is None and world_size > 1:
        raise ValueError(f"world_size={world_size} needs an exchange between the ranks; pass StoreExchange(...)")
    return ExecutionCheckpoints(
        address.open(),
        settings,
        exchange or LocalExchange(),
        open_store=address.open,
        on_commit=on_commit,
        on_back=on_back,
        asked=asked,
        clock=clock,
    )
