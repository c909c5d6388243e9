"""The workers' process group, over a store namespace of this execution's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from thunderhead_agent.plan import WorkerPlan

if TYPE_CHECKING:
    from torch._C._distributed_c10d import ProcessGroup, Store

GLOO_TIMEOUT = timedelta(minutes=30)
DEVICE_TIMEOUT = timedelta(minutes=10)
STORE_TIMEOUT = timedelta(minutes=5)
_left: list[ProcessGroup] = []
"""Groups that were destroyed, kept for as long as the worker lives, which ends without cleaning up. One that a wrapped
module is the last to hold would end with the interpreter's lock held and wait for its thread, which may want the lock.
"""


def another_client(plan: WorkerPlan) -> Store:
    """A connection of its own to the store of this execution."""
    from torch._C._distributed_c10d import PrefixStore, TCPStore

    server = TCPStore(
        plan.master_addr, plan.master_port, is_master=False, wait_for_workers=False, timeout=STORE_TIMEOUT
    )
    return PrefixStore(plan.store_prefix, server)


@contextmanager
def process_group(plan: WorkerPlan, device_type: str) -> Iterator[Store]:
    """Join the group of workers with such a device each (``"cpu"``, ``"cuda"``), and yield the store of this execution.

    It is a ``PrefixStore``, of which other uses take namespaces.

    A failed worker leaves without destroying the group: its peers are gone or about to be killed, and waiting for
    them at exit is how jobs hang.
    """
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore

    from thunderhead.accelerators import accelerator_of
    from thunderhead.device_kinds import group_backend

    store = another_client(plan)
    backend = group_backend(device_type, with_host=True)
    on_device = ":" in backend
    device = torch.device(device_type, plan.local_rank) if on_device else None
    if device is not None:
        accelerator_of(device).setup_device(device)
    dist.init_process_group(
        backend,
        store=PrefixStore("group", store),
        rank=plan.rank,
        world_size=plan.world_size,
        timeout=DEVICE_TIMEOUT if on_device else GLOO_TIMEOUT,
        device_id=device,
    )
    yield store
    _left.extend(dist.distributed_c10d._world.pg_map)
    dist.destroy_process_group()
