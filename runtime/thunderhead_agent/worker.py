"""A worker process from its first instruction to its last: born of the fork server, one rank of the job.

Whatever happens is stated on the board before the process exits 0; a death without a statement is a signal, an
``os._exit`` or the kernel. Everything heavy is imported by the fork server (``preload``) or by the entry.
"""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NoReturn

from thunderhead.exceptions import MisconfigurationException
from thunderhead.job.board import Board, Word
from thunderhead.job.errors import InvalidConfiguration, NothingRestorable, Stopped, StorageRefused, Superseded
from thunderhead_agent.absent import remedy
from thunderhead_agent.ending import Ending, from_exception, speaks_for_itself
from thunderhead_agent.linux import die_with_parent, name_process, prefer_as_oom_victim
from thunderhead_agent.placeless import formatted
from thunderhead_agent.plan import WorkerPlan
from thunderhead_agent.tracebacks import shown
from thunderhead_api.treaty import Outcome

Entry = Callable[[WorkerPlan, Board], Outcome]

_OUTCOMES: tuple[tuple[type[BaseException], Outcome], ...] = (
    (Stopped, Outcome.STOPPED),
    (Superseded, Outcome.SUPERSEDED),
    (StorageRefused, Outcome.STORAGE_REFUSED),
    (NothingRestorable, Outcome.STORAGE_REFUSED),
    (InvalidConfiguration, Outcome.INVALID_CONFIGURATION),
    (MisconfigurationException, Outcome.INVALID_CONFIGURATION),
)


def run_worker(plan: WorkerPlan, log: Connection) -> None:
    """The target of the worker process; returns (and so exits 0) whatever the user's code did."""
    _become_a_worker(plan, log)
    os.environ.update(plan.environ)
    for name, value in plan.defaults:
        os.environ.setdefault(name, value)
    board = Board.attach(plan.board)
    # Mapped on both sides, the page needs no name any more; so none is left behind, however this pod ends.
    plan.board.unlink(missing_ok=True)
    ending = execute(plan, board)
    board.publish_outcome(ending.to_json())
    if ending.outcome not in (Outcome.DONE, Outcome.STOPPED):
        _leave()


def execute(plan: WorkerPlan, board: Board) -> Ending:
    """Run the entry and say how it ended."""
    try:
        outcome = _entry(plan.entry)(plan, board)
    except BaseException as error:  # noqa: BLE001 - sys.exit and KeyboardInterrupt of the user's code are ends as well
        step = board.words[Word.STEP]
        if said := remedy(error):
            error.add_note(said.lstrip("; ."))
        ending = from_exception(error, outcome=_outcome(error), step=step)
        if ending.symptom:  # where we stood when a peer died tells nothing; the record keeps it all the same
            print(f"ended because a peer did: {(ending.message or '').partition(chr(10))[0]}", file=sys.stderr)
        elif ending.outcome is Outcome.FAILED and not speaks_for_itself(error):
            print(shown(error), end="", file=sys.stderr)
        elif ending.outcome is not Outcome.STOPPED:
            print(f"{ending.outcome}: {ending.message}", file=sys.stderr)
        return ending
    return Ending(outcome=outcome, step=board.words[Word.STEP])


def _outcome(error: BaseException) -> Outcome:
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return outcome
    return Outcome.FAILED


def _entry(name: str) -> Entry:
    module, _, function = name.partition(":")
    entry: Entry = getattr(importlib.import_module(module), function)
    return entry


def _become_a_worker(plan: WorkerPlan, log: Connection) -> None:
    """Own process group (killed as a whole, deaf to the terminal's Ctrl-C), own log pipe, no life after the agent."""
    die_with_parent()
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():
        os._exit(1)
    os.setpgid(0, 0)
    name_process(f"rank-{plan.rank}")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    prefer_as_oom_victim()
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    log.close()
    # Line buffering: a line that was printed before a crash is in the pipe, and the agent reads the pipe to its end.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a TextIO here, typed as one that may not be
    faulthandler.enable()
    warnings.formatwarning = formatted


def _leave() -> NoReturn:
    """End now: the process group is broken, and waiting for threads or peers at exit could only hang."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
