"""Leaving the process group at this process's end.

A worker thread of gloo may be the last to hold a collective's tensor, a little after whoever waited has gone on. Once
the interpreter is ending, that thread cannot take the lock it needs to free a Python object: Python ends the thread
(``pthread_exit``), the unwinding meets a destructor that may not throw, and the process dies by SIGABRT ("terminate
called without an active exception") after a run in which nothing went wrong. The group's destructor joins its threads,
so the group has to be gone, with whatever holds it, while they still can finish; of NCCL's, torch asks the same. What
else holds it (a script, the state of a communication hook, an optimizer that averages) keeps its threads.
"""

from __future__ import annotations

import gc
from typing import Final

import torch.distributed as dist
from torch._C._distributed_c10d import _unregister_all_process_groups

from thunderhead.distributed.last_run import error_at_end

_of_the_parent: Final[list[object]] = []


def forget_groups_of_the_parent() -> None:
    """In a process that was just forked: be in no group.

    The parent's threads are not here, so a collective of its group would wait for ever, and so would the group's end:
    it is kept, out of use.
    """
    if not dist.is_initialized():
        return
    c10d = dist.distributed_c10d
    world = c10d._world
    _of_the_parent.extend([*world.pg_map, *world.pg_map.values()])
    c10d._update_default_pg(None)
    for known in (
        world.pg_map,
        world.pg_names,
        world.pg_group_ranks,
        world.pg_backend_config,
        world.pg_to_tag,
        world.tags_to_pg,
        world.pg_coalesce_state,
    ):
        known.clear()
    _unregister_all_process_groups()
    world.group_count = 0


def keep_group_out_of_defaults() -> None:
    """To be called before there is a group.

    ``torch.distributed.nn.functional``, which DDP imports, has the group of its import as the default of arguments, and
    would hold it for ever; with none yet, it finds the group at each call.
    """
    import torch.distributed.nn.functional  # noqa: F401


def leave_group() -> None:
    """Destroy the process group, if there is one, unless an error ended the newest run or ends this process.

    After one, peers may be gone or stand in a collective, and waiting for what is under way could hang; who started
    this process has to end them first.
    """
    error = error_at_end()
    if dist.is_initialized() and (error is None or issubclass(error, SystemExit)):
        destroy_groups()


def destroy_groups() -> None:
    """Destroy all process groups that there are, and wait for their threads."""
    groups = list(dist.distributed_c10d._world.pg_map)
    dist.destroy_process_group()
    gc.collect()  # a wrapped module is part of cycles
    # Only now may they end. As a part of a wrapped module they would with the interpreter's lock held, and wait for
    # their threads, one of which may want that lock to free a tensor: for ever.
    groups.clear()
