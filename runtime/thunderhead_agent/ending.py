"""How one worker ended: stated by the worker on its board, or concluded by the agent from the exit status. Pure."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from thunderhead.job.errors import JobError, StorageUnavailable
from thunderhead_agent.place import place_of
from thunderhead_agent.tracebacks import traceback_tail
from thunderhead_agent.verdict import CAUSE, SYMPTOM, UNCLEAR
from thunderhead_agent.wire import Failure
from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import Outcome

MESSAGE_LIMIT: Final = 1024
BOARD_LIMIT: Final = 12 * 1024
UNCAUGHT: Final = 1
"""Exit code of a Python program that ends by an exception, which is what rules on exit codes expect."""
FORKSERVER_DIED: Final = 255
"""Exit code that multiprocessing reports for a child whose fork server is gone."""

_SYMPTOM_TYPES: Final = ("DistBackendError", "DistNetworkError", "DistStoreError", "PeerFailed", "NoAgreement")
_SYMPTOM_TEXTS: Final = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "socket timeout",
    "timed out waiting",
    "remote process exited",
    "ncclremoteerror",
    "nccl communicator was aborted",
    "failed to recv, got 0 bytes",
    "store->get",
    "application timeout caused pair closure",
)
_TRANSPORTS: Final = ("gloo", "nccl", "tcpstore", "c10d", "store", "processgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a worker says about its own end.

    Attributes:
        exit_code: that the user's code asked for, or Python's for an exception; the process itself exits 0.
        symptom: only the consequence of a peer's death, as far as one process can tell.
        place: line of the user's code that raised what is no bad luck.
    """

    outcome: Outcome
    reason: str | None = None
    message: str | None = None
    step: int | None = None
    exit_code: int | None = None
    symptom: bool = False
    place: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As it goes on the board."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, stated: Mapping[str, Any]) -> Ending:
        """Read back what :meth:`to_json` wrote."""
        known = {name: stated[name] for name in cls.__slots__ if name in stated}
        return cls(**{**known, "outcome": Outcome(known["outcome"])})


def speaks_for_itself(error: BaseException) -> bool:
    """Whether an exception says in one line what happened and what to do, so that a traceback would only hide it."""
    return isinstance(error, JobError)


def is_symptom(error: BaseException) -> bool:
    """Whether an exception only says that a peer or the store is gone.

    torch has types for some of them; gloo raises a plain RuntimeError with its source file and the errno in the text.
    A ``ConnectionResetError`` of the user's own sockets is no symptom.
    """
    if isinstance(error, StorageUnavailable):  # speaks of connections too, of those to the store
        return False
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if type(current).__name__ in _SYMPTOM_TYPES:
            return True
        text = "".join(traceback.format_exception_only(current)).lower()
        if isinstance(current, RuntimeError) and any(t in text for t in _TRANSPORTS):
            return any(phrase in text for phrase in _SYMPTOM_TEXTS)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return False


def from_exception(error: BaseException, *, outcome: Outcome, step: int | None) -> Ending:
    """The ending of a worker whose code raised."""
    if isinstance(error, SystemExit):
        return _from_exit(error, step)
    # The standard library's way to a headline survives a __str__ that raises.
    headline = "".join(traceback.format_exception_only(error)).strip()[:MESSAGE_LIMIT]
    reason = type(error).__name__
    said = headline.partition(f"{reason}: ")[2] or headline
    if outcome is not Outcome.FAILED:
        return Ending(outcome=outcome, reason=reason, message=_writable(said), step=step)
    symptom = is_symptom(error)
    told = said if speaks_for_itself(error) else f"{headline}\n{traceback_tail(error)}"
    return Ending(
        outcome=outcome,
        reason=reason,
        message=_writable(told),
        step=step,
        exit_code=UNCAUGHT,
        symptom=symptom,
        place=None if symptom else place_of(error, sys.path),
    )


def _writable(message: str) -> str:
    """Text that is valid in UTF-8 and fits the board, where a character takes up to twelve bytes of JSON."""
    text = message.encode(errors="replace").decode()
    while len(json.dumps(text)) > BOARD_LIMIT:
        text = text[: len(text) * 3 // 4]
    return text


def _from_exit(error: SystemExit, step: int | None) -> Ending:
    code = error.code if isinstance(error.code, int) else (0 if error.code is None else 1)
    said = "" if error.code is None or isinstance(error.code, int) else f": {error.code}"
    message = f"the code called sys.exit({code}) before the run had ended{said}"[:MESSAGE_LIMIT]
    return Ending(
        outcome=Outcome.FAILED,
        reason="SystemExit",
        message=_writable(message),
        step=step,
        exit_code=code & 0xFF,
        place=place_of(error, sys.path),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where a worker ran."""

    rank: int
    node_rank: int
    pod: str
    node: str | None


def concluded(stated: Ending | None, exit_code: int | None, *, out_of_memory: bool, step: int | None) -> Ending:
    """The ending of a process that is gone (``exit_code``, negative for a signal) or has stated how it ended."""
    if stated is not None:
        # A rank survives the kernel's choice of one of its data loader workers, and says so in torch's words.
        is_victim = out_of_memory and "killed by signal: Killed" in (stated.message or "")
        return replace(stated, reason="OutOfMemory") if is_victim else stated
    assert exit_code is not None, "a worker that still runs has not ended"
    if exit_code == -signal.SIGKILL and out_of_memory:
        message = "killed by the kernel: the container's memory limit was reached"
        return Ending(outcome=Outcome.FAILED, reason="OutOfMemory", message=message, step=step)
    if exit_code < 0:
        name = signal_name(-exit_code)
        return Ending(outcome=Outcome.FAILED, reason=name, message=f"killed by {name}", step=step)
    if exit_code == FORKSERVER_DIED:
        reason = "OutOfMemory" if out_of_memory else "ForkServerDied"
        message = "the fork server of this pod died, and its workers with it"
        return Ending(outcome=Outcome.FAILED, reason=reason, message=message, step=step)
    message = f"the process exited with code {exit_code} before the run had ended"
    return Ending(outcome=Outcome.FAILED, reason="Exit", message=message, step=step, exit_code=exit_code)


def failure(ending: Ending, exit_code: int | None, where: Whereabouts) -> Failure:
    """What is reported to node 0 about a worker that failed."""
    killed = exit_code is not None and exit_code < 0 and ending.reason in ("OutOfMemory", signal_name(-exit_code))
    culprit = Culprit(
        rank=where.rank,
        node_rank=where.node_rank,
        pod=where.pod,
        node=where.node,
        exit_code=ending.exit_code,
        signal=signal_name(-exit_code) if killed and exit_code is not None else None,
        reason=(ending.reason or ending.outcome)[:253],
        message=ending.message,
        step=ending.step,
        place=None if ending.reason == "OutOfMemory" else ending.place,
    )
    return Failure(outcome=ending.outcome, weight=_weight(ending), culprit=culprit)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; real-time signals by number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def _weight(ending: Ending) -> int:
    if ending.symptom:
        return SYMPTOM
    # NCCL's watchdog ends a process whose peer is gone by SIGABRT; so does an assertion in the user's extension.
    return UNCLEAR if ending.reason == "SIGABRT" else CAUSE
