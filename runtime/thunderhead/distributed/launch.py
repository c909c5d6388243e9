"""Starting the other ranks of this node by hand: the script runs again, once for each of them."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from thunderhead.distributed.environment import Place
from thunderhead.exceptions import MisconfigurationException

_GRACE_S = 10.0
_POLL_S = 0.2


def environment_of(place: Place, address: str, port: int) -> dict[str, str]:
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

    Args:
        place: this process among all.
        environ: where a meeting point may be given (``MASTER_ADDR``, ``MASTER_PORT``); needed with several nodes.
    """

    def __init__(self, place: Place, environ: Mapping[str, str] = os.environ) -> None:
        if place.num_nodes > 1 and not environ.get("MASTER_ADDR"):
            raise MisconfigurationException(
                f"num_nodes={place.num_nodes} without MASTER_ADDR and NODE_RANK in the environment; set them on every "
                "node, or start with torchrun"
            )
        self._place = place
        self._environ = environ
        self.processes: list[subprocess.Popen[bytes]] = []
        self._told = threading.Lock()

    def launch(self) -> None:
        """Start them, once."""
        if self.processes:
            return
        place = self._place
        address = self._environ.get("MASTER_ADDR") or "127.0.0.1"
        port = int(self._environ.get("MASTER_PORT") or free_port())
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        command = command_again(sys.argv, None if spec is None else spec.name.removesuffix(".__main__"))
        for local_rank in range(1, place.local_world_size):
            other = Place(
                rank=place.rank + local_rank,
                world_size=place.world_size,
                local_rank=local_rank,
                local_world_size=place.local_world_size,
                node_rank=place.node_rank,
            )
            environ = {**os.environ, **environment_of(other, address, port)}
            self.processes.append(subprocess.Popen(command, env=environ))
        os.environ.update(environment_of(place, address, port))
        atexit.register(self._join)
        threading.Thread(target=self._watch, name="thunderhead-launcher", daemon=True).start()

    def _watch(self) -> None:
        """A rank that fails takes the others along: they would wait for it for ever."""
        while True:
            if self._failed() is not None:
                self._end_all()
                os._exit(1)
            if all(process.poll() == 0 for process in self.processes):
                return
            time.sleep(_POLL_S)

    def _failed(self) -> tuple[int, int] | None:
        """Local rank and exit code of the first that failed."""
        codes = ((rank, process.poll()) for rank, process in enumerate(self.processes, start=1))
        return next(((rank, code) for rank, code in codes if code), None)

    def _end_all(self) -> None:
        """Name who failed, once, and end the rest."""
        failed = self._failed()
        if failed is not None and self._told.acquire(blocking=False):
            said = f"local rank {failed[0]} ended with exit code {failed[1]}; ending the other ranks of this node"
            print(said, file=sys.stderr, flush=True)
        for process in self.processes:
            if process.poll() is None:
                process.terminate()

    def _join(self) -> None:
        """At this process's end, perhaps because of another's: that one is named, and nobody is left behind."""
        give_up = time.monotonic() + _GRACE_S
        while time.monotonic() < give_up and any(process.poll() is None for process in self.processes):
            time.sleep(_POLL_S)
        self._end_all()


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
