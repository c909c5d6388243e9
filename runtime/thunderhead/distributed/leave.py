"""Leaving the process group at this process's end.

A worker thread of gloo may be the last to hold a collective's tensor, a little after whoever waited has gone on. Once
the interpreter is ending, that thread cannot take the lock it needs to free a Python object: Python ends the thread
(``pthread_exit``), the unwinding meets a destructor that may not throw, and the process dies by SIGABRT ("terminate
called without an active exception") after a run in which nothing went wrong. The group's destructor joins its threads,
so the group has to be gone, with whatever holds it, while they still can finish; of NCCL's, torch asks the same.
"""

from __future__ import annotations

import gc
import sys

import torch.distributed as dist

from thunderhead.distributed.launch import ScriptLauncher


def keep_group_out_of_defaults() -> None:
    """To be called before there is a group.

    ``torch.distributed.nn.functional``, which DDP imports, has the group of its import as the default of arguments, and
    would hold it for ever; with none yet, it finds the group at each call.
    """
    import torch.distributed.nn.functional  # noqa: F401


def leave_group(launcher: ScriptLauncher | None) -> None:
    """Destroy the process group, unless an error is known to end this process.

    After one, peers may be gone or stand in a collective, and waiting for what is under way could hang; the launcher
    has to end them first.

    Args:
        launcher: who started the other ranks, if this process did; it knows of errors that the script caught.
    """
    error = (launcher and launcher.error) or getattr(sys, "last_value", None)
    if not dist.is_initialized() or not (error is None or isinstance(error, SystemExit)):
        return
    if error is not None:
        error.__traceback__ = None  # its frames hold what they worked with
    dist.destroy_process_group()
    gc.collect()  # a wrapped module is part of cycles
