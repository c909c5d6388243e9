"""Starting all ranks of this node as children of this process, which waits for them and takes rank 0's result.

::

    parent:  start → wait ─┬─ all done → read the result of local rank 0
                           ├─ one failed → SIGTERM, then SIGKILL to the rest → raise its very exception
                           └─ SIGTERM, Ctrl-C here → passed on to all; they end together, or are made to
    child:   take the place → run → write the result (local rank 0), or report the exception, and end

A child whose parent dies ends by itself.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch

from thunderhead.device_kinds import cannot_fork
from thunderhead.distributed.environment import ProcessRank, free_port
from thunderhead.distributed.launch import Prepare, check_meeting_point, environment_of
from thunderhead.distributed.leave import forget_groups_of_the_parent
from thunderhead.exceptions import MisconfigurationException
from thunderhead.rng import capture_rng, restore_rng

Payload = TypeVar("Payload")
Result = TypeVar("Result")
Work = Callable[[ProcessRank, Any], Any]
_OWN_END_S = 1.0


class ChildTraceback(Exception):
    """Where in which child the exception was raised that has this as its cause."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a child ended: with ``error`` None, well.

    Attributes:
        at: monotonic time, the same clock in all processes of a machine.
        error: the exception, or a RuntimeError that quotes it where it cannot be pickled.
        trace: its traceback.
    """

    at: float
    error: BaseException | None = None
    trace: str = ""


class ProcessLauncher:
    """Runs something on every rank of this node, each in a child process.

    Args:
        place: of local rank 0.
        method: spawn, fork or forkserver.
        environ: where a meeting point may be given (``MASTER_ADDR``, ``MASTER_PORT``); needed with several nodes.
        grace_s: seconds that children have to end after they were told to.
        prepare: completes the environment of all, before the first of them is started.

    Attributes:
        error: what ended this process's run; the trainer tells every launcher.
        processes: the children of the running launch.

    Raises:
        MisconfigurationException: several nodes, and nowhere to meet.
    """

    def __init__(
        self,
        place: ProcessRank,
        method: str,
        environ: Mapping[str, str] = os.environ,
        *,
        grace_s: float = 10.0,
        prepare: Prepare | None = None,
    ) -> None:
        check_meeting_point(place, environ)
        self._prepare = prepare
        self._place = place
        self._environ = environ
        self._grace_s = grace_s
        self.method = method
        self.processes: list[BaseProcess] = []
        self._terminated = False

    def launch(self, work: Callable[[ProcessRank, Payload], Result], payload: Payload) -> Result:
        """What ``work(place, payload)`` returns on local rank 0.

        Raises:
            MisconfigurationException: the payload cannot go to another process, or a device is in use before a fork.
            RuntimeError: a child died without an exception.
            BaseException: what a child raised first, with a :class:`ChildTraceback` as its cause.
        """
        self._terminated = False
        packed = self._packed(work, payload)
        with tempfile.TemporaryDirectory(prefix="thunderhead-") as directory:
            outcome = Path(directory) / "outcome.pt"
            pipes = self._start(packed, outcome)
            try:
                with self._passing_on_sigterm():
                    self._wait(pipes)
            except KeyboardInterrupt:
                # From a terminal they have it too and are ending; otherwise they must be told.
                self._join(_OWN_END_S)
                raise
            finally:
                for pipe in pipes:
                    pipe.close()  # who still writes gives up and ends
                self._end_all()
            result: Result = torch.load(outcome, map_location="cpu", weights_only=False)
            return result

    def _packed(self, work: Work, payload: object) -> bytes | tuple[Work, object]:
        """What a child gets. Pickled here and now, lest tensors be shared with the child instead of copied."""
        if self.method == "fork":
            if (used := cannot_fork()) is not None:
                raise MisconfigurationException(
                    f"start_method='fork' after {used} was used in this process: a forked process cannot use it. Move "
                    "nothing to a device before Trainer.fit, restart the kernel, or use 'ddp_spawn'"
                )
            return work, payload
        try:
            return pickle.dumps((work, payload))
        except Exception as error:
            raise MisconfigurationException(
                f"start_method={self.method!r} hands module, data, callbacks and loggers to other processes, and "
                f"something there cannot be pickled ({error}); use strategy='ddp', or define it at the top of a module"
            ) from error

    def _start(self, packed: bytes | tuple[Work, object], outcome: Path) -> list[Connection]:
        context: Any = multiprocessing.get_context(self.method)
        place = self._place
        if self._prepare is not None:
            self._prepare(place, os.environ)
        address = self._environ.get("MASTER_ADDR") or "127.0.0.1"
        port = int(self._environ.get("MASTER_PORT") or free_port())
        globals_ = None if self.method == "fork" else capture_globals()
        self.processes, pipes = [], []
        for local_rank in range(place.local_world_size):
            mine = ProcessRank(
                place.rank + local_rank, place.world_size, local_rank, place.local_world_size, place.node_rank
            )
            receiving, sending = context.Pipe(duplex=False)
            environ = environment_of(mine, address, port)
            arguments = (packed, mine, environ, globals_, outcome, sending)
            process = context.Process(target=_child, args=arguments, name=f"rank-{mine.rank}")
            process.start()
            sending.close()
            self.processes.append(process)
            pipes.append(receiving)
        return pipes

    def _wait(self, pipes: list[Connection]) -> None:
        """Until all have ended well."""
        running = dict(enumerate(self.processes))
        unread = dict(enumerate(pipes))
        reports: dict[int, Report] = {}
        while running:
            # Also before they end: what does not fit the pipe keeps a child from ending until it is read.
            wait([*(process.sentinel for process in running.values()), *unread.values()])
            for rank, process in list(running.items()):
                if process.exitcode is not None:
                    running.pop(rank)
                # Without waiting: processes of the child's own may hold its pipe open.
                if rank in unread and (unread[rank].poll() or rank not in running):
                    report = _received(unread.pop(rank))
                    if report is not None:
                        reports[rank] = report
            if any(rank not in unread and rank not in reports for rank in running):
                continue  # it let go of its pipe without a word, and is about to end: what others say comes of that
            ended = {rank: p.exitcode for rank, p in enumerate(self.processes) if rank not in running}
            error = self._failure(ended, reports)
            if error is not None:
                raise error

    def _failure(self, ended: Mapping[int, int | None], reports: Mapping[int, Report]) -> BaseException | None:
        """What to raise: a death without a report explains the reports of others, which only lost a peer."""
        first = self._place.rank
        silent = [(rank, code) for rank, code in ended.items() if rank not in reports]
        if silent and self._terminated:
            return SystemExit(128 + signal.SIGTERM)
        if silent:
            rank, code = silent[0]
            how = f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"
            hint = "" if self.method == "fork" else "; a script must start its work under if __name__ == '__main__'"
            return RuntimeError(f"rank {first + rank} {how}, without an exception{hint}")
        failed = [(report.at, rank) for rank, report in reports.items() if report.error is not None]
        if not failed:
            return None
        _, rank = min(failed)
        error = reports[rank].error
        assert error is not None
        error.__cause__ = ChildTraceback(f"in rank {first + rank}:\n{reports[rank].trace}")
        return error

    @contextmanager
    def _passing_on_sigterm(self) -> Iterator[None]:
        """SIGTERM reaches the children, which agree on when to end; one that does not is killed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def pass_on(number: int, frame: FrameType | None) -> None:
            self._terminated = True
            for process in self.processes:
                process.terminate()
            if callable(before):
                before(number, frame)

        before: Callable[[int, FrameType | None], object] | int | None = signal.signal(signal.SIGTERM, pass_on)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)

    def _end_all(self) -> None:
        """Nobody is left behind. Who stands in a collective has only taken a note of SIGTERM.

        One that was told before is not told again: by now it may be past the loop, which takes notes, and among its
        callbacks, which save.
        """
        for process in () if self._terminated else self.processes:
            process.terminate()
        self._join(self._grace_s)
        for process in self.processes:
            process.kill()
            process.join()

    def _join(self, seconds: float) -> None:
        give_up = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, give_up - time.monotonic()))

    def __getstate__(self) -> dict[str, Any]:
        """For a child: processes belong to who started them."""
        return {**self.__dict__, "processes": [], "_environ": dict(self._environ)}


def capture_globals() -> dict[str, Any]:
    """What a forked process would have from its parent and a spawned one has not: random state, torch's switches."""
    return {
        "rng": capture_rng(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "path": list(sys.path),
    }


def _restore_globals(found: dict[str, Any]) -> None:
    sys.path[:] = found["path"]
    restore_rng(found["rng"])
    if found["deterministic"]:  # torch loads its compiler for it, which takes seconds
        torch.use_deterministic_algorithms(True, warn_only=found["warn_only"])
    torch.backends.cudnn.benchmark = found["benchmark"]


def _child(
    packed: bytes | tuple[Work, object],
    place: ProcessRank,
    environ: dict[str, str],
    globals_: dict[str, Any] | None,
    outcome: Path,
    reports: Connection,
) -> None:
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork has the parent's handler
    if globals_ is None:
        # A fork's collector lets the parent's garbage be: freeing a process group means to wait for its threads, which
        # only the parent has.
        gc.freeze()
        forget_groups_of_the_parent()
    os.environ.update(environ)
    # A forked process has none of the parent's pool of threads, and OpenMP would wait for it.
    torch.set_num_threads(1 if globals_ is None else _threads(place.local_world_size))
    try:
        if globals_ is not None:
            _restore_globals(globals_)
        work, payload = pickle.loads(packed) if isinstance(packed, bytes) else packed
        result = work(place, payload)
        if place.local_rank == 0:
            torch.save(result, outcome)
        report = Report(time.monotonic())
    except BaseException as error:  # noqa: BLE001 - raised by the parent
        report = Report(time.monotonic(), _sendable(error, place.rank), traceback.format_exc())
    with suppress(OSError):  # nobody reads any more
        reports.send_bytes(pickle.dumps(report))
    sys.stdout.flush()
    sys.stderr.flush()
    if report.error is not None:
        # The group is broken, so waiting for threads and peers at exit could only hang.
        os._exit(1)


def _threads(processes: int) -> int:
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    return max(1, len(os.sched_getaffinity(0)) // processes if hasattr(os, "sched_getaffinity") else 1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _sendable(error: BaseException, rank: int) -> BaseException:
    try:
        again: BaseException = pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its class does to be pickled
        return RuntimeError(f"rank {rank} raised {type(error).__name__}: {error}")
    return again


def _received(pipe: Connection) -> Report | None:
    try:
        report: Report | None = pickle.loads(pipe.recv_bytes()) if pipe.poll() else None
    except (EOFError, OSError):  # it died, perhaps in the midst of it
        return None
    return report
