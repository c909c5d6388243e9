"""This node's side of the group of agents for one round: the hub on node 0, a peer elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from thunderhead_agent.addresses import listen
from thunderhead_agent.hub import Hub
from thunderhead_agent.peer import PeerSession
from thunderhead_agent.sealed import Secret
from thunderhead_agent.session import Session
from thunderhead_agent.settings import Settings
from thunderhead_agent.wire import Hello


def open_session(
    settings: Settings, number: int, *, start_store: Callable[[], Awaitable[int]], say: Callable[[str], None]
) -> Session:
    """Open the door, or begin to look for it.

    Args:
        settings: of this node.
        number: of the round.
        start_store: gives the port of the workers' store, awaited on node 0 when all nodes are here.
        say: for one line per event.
    """
    job = settings.job
    secret = Secret(settings.key, job.uid, job.attempt) if settings.key is not None else None
    if settings.node_rank == 0:
        hub = Hub(job.nodes, secret, number=number, start_store=start_store, say=say)
        if job.nodes > 1:
            hub.serve(listen(settings.agent_host, settings.rendezvous_port))
        return hub
    assert secret is not None, "a job of several nodes has a key"
    peer = PeerSession(
        Hello(round=number, node_rank=settings.node_rank, pod=settings.pod, node=settings.node),
        secret,
        settings.rendezvous_host,
        settings.rendezvous_port,
        name_of_node_0=f"{job.name}-{job.attempt}-0",
        read_resolv_conf=_read_resolv_conf,
        say=say,
    )
    peer.start()
    return peer


def _read_resolv_conf() -> str:
    try:
        with open("/etc/resolv.conf") as file:
            return file.read()
    except OSError:
        return ""
