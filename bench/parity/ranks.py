"""Cases of several ranks: the processes of each side, started once, which run case after case.

Both sides find the same environment, that of torchelastic, and meet over gloo by what it says. A case that fails or
does not end may leave collectives behind that nobody answers, so its processes end with it.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.parity.record import Record

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# A case takes a second; the first one of a group also imports and meets, on a busy machine for minutes.
SECONDS = 120.0
FIRST_SECONDS = 600.0


class Ranks:
    """The processes of all sides; a context that ends them."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._groups: dict[tuple[str, int], _Group] = {}
        self._seconds = seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for group in self._groups.values():
            group.end()

    def run(self, case: str, side: str, root: Path, count: int) -> list[Record]:
        """One side's run of a case by name; a record per rank, without the files left behind.

        A rank that does not end, or dies, has an error for a record.
        """
        group = self._groups.get((side, count))
        seconds = self._seconds if group else max(self._seconds, FIRST_SECONDS)
        group = self._groups[side, count] = group or _Group(side, count)
        records = group.run(case, root, seconds)
        if any(record.error for record in records):
            self._groups.pop((side, count)).end()
        return records


class _Group:
    def __init__(self, side: str, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        port = _free_port()
        self._ranks = []
        for rank in range(count):
            ours, theirs = context.Pipe()
            # No daemons: they may have loader processes. They end with the pipe.
            process = context.Process(target=_serve, args=(theirs, _environment(rank, count, port), side))
            process.start()
            theirs.close()
            self._ranks.append((process, ours))

    def run(self, case: str, root: Path, seconds: float) -> list[Record]:
        root.mkdir(parents=True)
        for _, connection in self._ranks:
            connection.send((case, root))
        return [_answer(connection, seconds) for _, connection in self._ranks]

    def end(self) -> None:
        for _, connection in self._ranks:
            connection.close()
        for process, _ in self._ranks:
            process.join(5)
            process.kill()
            process.join()


def _answer(connection: Connection[Any, Any], seconds: float) -> Record:
    if not connection.poll(seconds):
        return Record(error=f"TimeoutError: no end within {seconds:g} s")
    try:
        found: Record = connection.recv()
    except EOFError:
        return Record(error="EOFError: the process died")
    return found


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "TORCHELASTIC_RUN_ID": "parity",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _serve(connection: Connection[Any, Any], environment: dict[str, str], side: str) -> None:
    # Before anything of a trainer is imported: Lightning's rank_zero_only looks then.
    os.environ |= environment
    from bench.parity.cases import CASES
    from bench.parity.scenario import run

    by_name = {case.name: case for case in CASES}
    while True:
        try:
            name, root = connection.recv()
        except (EOFError, ConnectionResetError):  # whoever asked is gone
            return
        connection.send(run(by_name[name], side, root, files=False))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
