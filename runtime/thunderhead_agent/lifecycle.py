"""From the environment to the exit code: settings, fork server, HTTP, the agent, the record."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import traceback
from collections.abc import MutableMapping

from thunderhead_agent import linux
from thunderhead_agent.agent import Agent
from thunderhead_agent.early import EarlySignals
from thunderhead_agent.exposition import exposition
from thunderhead_agent.logs import LogPump
from thunderhead_agent.plan import TRAIN
from thunderhead_agent.processes import ForkServer
from thunderhead_agent.record import encode_record, termination_record
from thunderhead_agent.refusal import leave, refuse
from thunderhead_agent.server import AgentServer, Query, pages
from thunderhead_agent.settings import Settings, SettingsError, read_settings
from thunderhead_agent.snapshot import Snapshot, status_reply, stranger_reply
from thunderhead_agent.wire import Verdict
from thunderhead_api.extras import MissingExtra, require, uses_s3
from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import EXIT_CODE_OF, STATUS_ATTEMPT, STATUS_UID, Env, Outcome

STALE_SECONDS = 30.0
DRAIN_SECONDS = 3.0
OPEN_FILES = 65_536
"""Every worker of the job holds a few connections to the store, and node 0's agent two ends of each."""
PORT_FILE = "agent.port"
"""In RUN_DIR: the port of ``/status``, for a local run that asked for any free one."""


def run_agent(environ: MutableMapping[str, str], *, entry: str = TRAIN, early: EarlySignals | None = None) -> int:
    """Run one attempt on this node and return the process's exit code.

    Args:
        environ: the process's environment; thread settings are written to it before the fork server inherits it.
        entry: what a worker runs (``module:function``).
        early: what has been caught since the process began; from now on, if it is not given.
    """
    early = early or EarlySignals()
    try:
        settings = read_settings(environ)
        if uses_s3(settings.job.spec):
            require("a job with checkpoints in S3", "s3")
    except SettingsError as error:
        return refuse(environ, str(error))
    except MissingExtra as error:
        return refuse(environ, str(error), reason="MissingExtra")
    logs = LogPump(sys.stdout.buffer)
    try:
        agent = _prepare(environ, settings, logs, entry, early)
        return asyncio.run(_attempt(agent, settings, logs))
    except Exception as error:  # noqa: BLE001 - whatever it is, this pod must leave a record that says so
        traceback.print_exc()
        culprit = Culprit(
            node_rank=settings.node_rank,
            pod=settings.pod,
            node=settings.node,
            reason="AgentError",
            message=f"the agent itself failed: {type(error).__name__}: {error}"[:2000],
        )
        nothing = Snapshot(job=settings.job, node_rank=settings.node_rank)
        _leave_record(nothing, settings, Outcome.FAILED, Verdict(outcome=Outcome.FAILED, culprit=culprit))
        return int(EXIT_CODE_OF[Outcome.FAILED])


def _prepare(
    environ: MutableMapping[str, str], settings: Settings, logs: LogPump, entry: str, early: EarlySignals
) -> Agent:
    """Everything that comes before the event loop, and the fork server first: it takes longest."""
    linux.adopt_orphans()
    linux.allow_open_files(OPEN_FILES)
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    _fix_threads(environ, settings.threads)
    environ.pop(Env.KEY_FILE, None)  # the workers have no use for it
    server = ForkServer()
    server.warm()
    return Agent(settings, server, logs, entry=entry, early=early)


async def _attempt(agent: Agent, settings: Settings, logs: LogPump) -> int:
    _serve(agent, settings)
    outcome, verdict = await agent.run()
    _leave_record(agent.snapshot, settings, outcome, verdict)
    await agent.close()
    logs.close(DRAIN_SECONDS)
    code = int(EXIT_CODE_OF[outcome])
    sys.stdout.flush()
    # Leaving from inside the loop: its own shutdown would wait for threads that look up names or start workers.
    os._exit(code)


def _serve(agent: Agent, settings: Settings) -> None:
    """Open the HTTP port, before anything that takes time."""

    def status(query: Query) -> bytes:
        job = settings.job
        known = query.get(STATUS_UID) == job.uid and query.get(STATUS_ATTEMPT) == str(job.attempt)
        reply = status_reply(agent.snapshot) if known else stranger_reply(agent.snapshot)
        return reply.model_dump_json(by_alias=True).encode()

    def healthy() -> bool:
        return time.time() - agent.snapshot.taken_at < STALE_SECONDS

    metrics = exposition(lambda: agent.snapshot, settings.threads)
    http = AgentServer(settings.agent_host, settings.agent_port, pages(status, metrics, healthy))
    http.start()
    (settings.run_dir / PORT_FILE).write_text(str(http.port))


def _fix_threads(environ: MutableMapping[str, str], threads: int) -> None:
    """The fork server reads these as it loads torch and every worker inherits them; another number gives other bits."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environ[name] = str(threads)


def _leave_record(snapshot: Snapshot, settings: Settings, outcome: Outcome, verdict: Verdict) -> None:
    body = encode_record(termination_record(snapshot, outcome, verdict))
    leave(settings.termination_file, body)
