"""Starting the other ranks of this node by hand: the script runs again, once for each of them."""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence

from thunderhead.distributed.environment import ProcessRank, free_port
from thunderhead.distributed.last_run import error_at_end, uncaught_error
from thunderhead.exceptions import MisconfigurationException

Prepare = Callable[[ProcessRank, MutableMapping[str, str]], None]
_POLL_S = 0.2
_INTERRUPTED_S = 2.0
_PR_SET_PDEATHSIG = 1
# How ranks end that somebody asked to end (a shell's kill, Ctrl-C), before and inside of a fit: nobody failed.
_ASKED_TO_END = {-signal.SIGTERM: 143, 143: 143, -signal.SIGINT: 130, 130: 130}


def environment_of(place: ProcessRank, address: str, port: int) -> dict[str, str]:
    """The variables that tell a process where it stands, as torchrun sets them."""
    return {
        "RANK": str(place.rank),
        "WORLD_SIZE": str(place.world_size),
        "LOCAL_RANK": str(place.local_rank),
        "LOCAL_WORLD_SIZE": str(place.local_world_size),
        "GROUP_RANK": str(place.node_rank),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


def command_again(argv: Sequence[str], module: str | None) -> list[str]:
    """The command line that runs this script or ``python -m`` module again.

    Raises:
        MisconfigurationException: there is no script to run again (an interactive session, ``python -c``).
    """
    if module is not None:
        return [sys.executable, "-m", module, *argv[1:]]
    if not argv or not os.path.isfile(argv[0]):
        raise MisconfigurationException(
            "several devices need a script that can be run again for each of them; this is an interactive session. "
            "Write a script, or start it with torchrun --nproc-per-node"
        )
    return [sys.executable, os.path.abspath(argv[0]), *argv[1:]]


class ScriptLauncher:
    """Starts the processes of local ranks 1, 2, ... and watches over them; this process is local rank 0.

    Whoever fails takes all others along, since they would wait for it for ever: who it was is said, the others get
    SIGTERM, unless it was that which ended the first, and SIGKILL where that does not end them. This process then has
    time to end by itself, with its hooks, loggers and handlers, before it is made to. Should it die first, the kernel
    ends the others (Linux).

    Args:
        place: this process among all.
        environ: where a meeting point may be given (``MASTER_ADDR``, ``MASTER_PORT``); needed with several nodes.
        grace_s: seconds to end by oneself.
        prepare: completes the environment of all, before the first of them is started.

    Attributes:
        processes: the others, by local rank from 1 on.
        outside: whether a local rank is known to be outside of a run, where it waits for nobody; told by the strategy.
    """

    def __init__(
        self,
        place: ProcessRank,
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
        self.processes: list[subprocess.Popen[bytes]] = []
        self.outside: Callable[[int], bool] = lambda local_rank: False
        self._ending = threading.Lock()
        self._told = False
        self._joining = threading.Event()

    def launch(self) -> None:
        """Start them, once."""
        if self.processes:
            return
        place = self._place
        address = self._environ.get("MASTER_ADDR") or "127.0.0.1"
        port = int(self._environ.get("MASTER_PORT") or free_port())
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        command = command_again(sys.argv, None if spec is None else spec.name.removesuffix(".__main__"))
        if self._prepare is not None:
            self._prepare(place, os.environ)
        for local_rank in range(1, place.local_world_size):
            other = ProcessRank(
                rank=place.rank + local_rank,
                world_size=place.world_size,
                local_rank=local_rank,
                local_world_size=place.local_world_size,
                node_rank=place.node_rank,
            )
            environ = {**os.environ, **environment_of(other, address, port)}
            self.processes.append(subprocess.Popen(command, env=environ, preexec_fn=_die_with_parent()))
        os.environ.update(environment_of(place, address, port))
        atexit.register(self._join)
        threading.Thread(target=self._watch, name="thunderhead-launcher", daemon=True).start()

    def _watch(self) -> None:
        while not self._joining.wait(_POLL_S):
            failed = self._failed()
            if failed is not None:
                self._end_all(self._grace_s)
                # Its collectives are broken, so it will raise in a moment, and what it does then may be a checkpoint.
                if not self._joining.wait(self._grace_s):
                    os._exit(_ASKED_TO_END.get(failed[1], 1))
                return
            if all(process.poll() == 0 for process in self.processes):
                return

    def _join(self) -> None:
        """At this process's end: nobody is left behind, and a failure of another is not taken for success."""
        self._joining.set()
        error = error_at_end()
        # A terminal interrupts all; who interrupted this process alone means all.
        interrupted = issubclass(error or BaseException, KeyboardInterrupt)
        grace_s = min(self._grace_s, _INTERRUPTED_S) if interrupted else self._grace_s
        # An error here may be the echo of another's, whose end shows in a moment; without one, others may be at work.
        give_up = time.monotonic() + (math.inf if error is None else grace_s)
        while self._failed() is None and (at_work := self._alive()):
            # Where scripts caught the error, each rank may go on by itself, but for one that stands in a collective.
            if time.monotonic() > give_up and (uncaught_error() or not all(map(self.outside, at_work))):
                break
            time.sleep(_POLL_S)
        failed = self._failed()
        self._end_all(grace_s)
        if error is None and failed is not None:
            sys.stdout.flush()
            os._exit(_ASKED_TO_END.get(failed[1], 1))

    def _alive(self) -> list[int]:
        return [rank for rank, process in enumerate(self.processes, start=1) if process.poll() is None]

    def _failed(self) -> tuple[int, int] | None:
        """Local rank and exit code of one that failed; one that was only asked to end comes last."""
        codes = [(rank, process.poll()) for rank, process in enumerate(self.processes, start=1)]
        failed = [(rank, code) for rank, code in codes if code]
        return min(failed, key=lambda found: found[1] in _ASKED_TO_END, default=None)

    def _end_all(self, grace_s: float) -> None:
        """Say who failed, once, and end the rest, with so many seconds to end by themselves."""
        with self._ending:
            if not self._told:
                self._told = True
                if culprit := self._culprit():
                    print(f"{culprit}; ending the other ranks of this node", file=sys.stderr, flush=True)
            for process in () if self._ended_together() else self.processes:
                process.terminate()
            give_up = time.monotonic() + grace_s
            while time.monotonic() < give_up and self._alive():
                time.sleep(_POLL_S)
            for process in self.processes:
                # A rank that stands in a collective has only taken a note of SIGTERM.
                process.kill()
                process.wait()

    def _ended_together(self) -> bool:
        """One ended as SIGTERM ends all after one step: the others are past the loop, and among callbacks that save."""
        return any(process.poll() == 128 + signal.SIGTERM for process in self.processes)

    def _culprit(self) -> str | None:
        """Whose failure it was; None where all were asked to end, or nobody failed."""
        failed = self._failed()
        if failed is not None and failed[1] not in _ASKED_TO_END:
            rank, code = failed
            how = f"ended with exit code {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
            return f"local rank {rank} {how}"
        error = error_at_end()
        if failed is not None or error is None or issubclass(error, (SystemExit, KeyboardInterrupt)):
            return None
        if not self._alive():
            return None  # whatever it was, nobody has to be ended for it
        return f"local rank 0 raised {error.__name__}"


def _die_with_parent() -> Callable[[], None] | None:
    """What a child runs before exec: ask the kernel for SIGKILL when we die (loaded before the fork).

    The kernel means the thread that forked, which only the main thread outlives all others.
    """
    if not sys.platform.startswith("linux") or threading.current_thread() is not threading.main_thread():
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)

    return ask


def check_meeting_point(place: ProcessRank, environ: Mapping[str, str]) -> None:
    """Ranks of several nodes must know where to meet before any of them starts.

    Raises:
        MisconfigurationException: several nodes, and nowhere to meet.
    """
    if place.num_nodes > 1 and not environ.get("MASTER_ADDR"):
        raise MisconfigurationException(
            f"num_nodes={place.num_nodes} without MASTER_ADDR and NODE_RANK in the environment; set them on every "
            "node, or start with torchrun"
        )
