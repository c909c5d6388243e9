"""Leaving the process group at this process's end.

A worker thread of gloo may be the last to hold a collective's tensor, a little after whoever waited has gone on. Once
the interpreter is ending, that thread cannot take the lock it needs to free a Python object: Python ends the thread
(``pthread_exit``), the unwinding meets a destructor that may not throw, and the process dies by SIGABRT ("terminate
called without an active exception") after a run in which nothing went wrong. Destroying the group joins its threads
while they still can finish; of NCCL's, torch asks the same.
"""

from __future__ import annotations

import atexit
import sys

import torch.distributed as dist

from thunderhead.distributed.launch import ScriptLauncher


def leave_at_exit(launcher: ScriptLauncher | None) -> None:
    """Destroy the process group before the interpreter ends, unless an error ends this process.

    After an error, peers may be gone or stand in a collective, and waiting for what is under way could hang; the
    launcher has to end them first.

    Args:
        launcher: who started the other ranks, if this process did; it knows of errors that the script caught.
    """
    # Handlers run last in, first out: before the launcher's own, which waits for the other ranks, for they leave too.
    atexit.register(_leave, launcher)


def _leave(launcher: ScriptLauncher | None) -> None:
    error = (launcher and launcher.error) or getattr(sys, "last_value", None)
    if dist.is_initialized() and (error is None or isinstance(error, SystemExit)):
        dist.destroy_process_group()
