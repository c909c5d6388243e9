"""Agents in a fraction of a second: a process that has imported everything once and forks them from itself.

Run as ``python agent_template.py FD``, FD being a socket to the tests. An agent forked here differs from a real one in
one thing only: where it would start its fork server as a fresh interpreter that imports torch for seconds, it forks it
from itself, with torch already there. Tests that are about those seconds start real agents.
"""

from __future__ import annotations

import json
import multiprocessing.util
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from thunderhead_agent import linux

PRELOAD = "thunderhead_agent.preload"
_spawn = multiprocessing.util.spawnv_passfds


def main() -> None:
    """Serve requests, a line of JSON each, until the tests hang up."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    os.environ[linux.AGENT_PID] = str(os.getppid())
    __import__(PRELOAD)
    import thunderhead_agent.lifecycle  # noqa: F401 - warm

    # Its import ties a process to its parent; every fork server must do that for itself.
    del sys.modules[PRELOAD]
    requests = channel.makefile("rwb")
    for line in requests:
        requests.write(json.dumps(_answer(json.loads(line), channel)).encode() + b"\n")
        requests.flush()


def _answer(request: dict[str, Any], channel: socket.socket) -> int | None:
    if "entry" in request:
        pid = os.fork()
        if pid == 0:
            channel.close()
            _become_agent(request["entry"], request["environ"], request["log"])
        return pid
    end = time.monotonic() + request["seconds"]
    while time.monotonic() < end:
        pid, status = os.waitpid(request["pid"], os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def _become_agent(entry: str, environ: dict[str, str], log: str) -> NoReturn:
    from thunderhead_agent.lifecycle import run_agent

    output = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environ)
    multiprocessing.util.spawnv_passfds = _fork_the_fork_server
    os._exit(run_agent(os.environ, entry=entry))


def _fork_the_fork_server(path: bytes, args: Sequence[str], passfds: Sequence[int]) -> int:
    """In the place of ``multiprocessing.util.spawnv_passfds``, which also starts other helpers."""
    program = args[-1]
    if "multiprocessing.forkserver" not in program:
        return _spawn(path, args, passfds)
    pid = os.fork()
    if pid:
        return pid
    try:
        keep = {0, 1, 2, *passfds}
        for fd in {int(name) for name in os.listdir("/proc/self/fd")} - keep:
            try:
                os.close(fd)
            except OSError:
                continue  # the one that listed them
        exec(program, {})
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
