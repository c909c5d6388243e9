"""Which of how many processes this is, read from a process group that exists or from the environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from thunderhead.exceptions import MisconfigurationException


@dataclass(frozen=True, slots=True)
class ProcessRank:
    """This process among all.

    Attributes:
        rank: from 0 to ``world_size`` - 1.
        world_size: number of processes, over all nodes.
        local_rank: rank on this node.
        local_world_size: processes on this node.
        node_rank: which node.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    node_rank: int = 0

    @property
    def num_nodes(self) -> int:
        """Number of nodes, when all have as many processes as this one."""
        return max(1, self.world_size // max(1, self.local_world_size))


def find_process_rank(environ: Mapping[str, str] = os.environ) -> ProcessRank:
    """Where this process stands: an initialised process group first, then ``RANK``, ``WORLD_SIZE`` and the rest.

    Raises:
        MisconfigurationException: a variable holds no integer, or a rank lies outside the world.
    """
    # Imported here, so that the launcher, which needs only ProcessRank, is there without torch.
    import torch.distributed as dist

    initialized = dist.is_available() and dist.is_initialized()
    world_size = dist.get_world_size() if initialized else _integer(environ, "WORLD_SIZE", 1)
    rank = dist.get_rank() if initialized else _integer(environ, "RANK", 0)
    if not 0 <= rank < world_size:
        raise MisconfigurationException(f"RANK={rank} is outside WORLD_SIZE={world_size}; the launcher must set both")
    local_world_size = _integer(environ, "LOCAL_WORLD_SIZE", world_size // _nodes_of_pods(environ))
    local_rank = _integer(environ, "LOCAL_RANK", rank % max(1, local_world_size))
    node_rank = _integer(environ, "GROUP_RANK", _integer(environ, "NODE_RANK", rank // max(1, local_world_size)))
    return ProcessRank(rank, world_size, local_rank, local_world_size, node_rank)


def _nodes_of_pods(environ: Mapping[str, str]) -> int:
    """Kubeflow's pods of a PyTorchJob bear the ranks of their only process, and how many pods there are."""
    nodes = environ.get("PET_NNODES", "")
    return max(1, int(nodes)) if nodes.isdigit() else 1


def _integer(environ: Mapping[str, str], name: str, default: int) -> int:
    value = environ.get(name)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except ValueError as error:
        raise MisconfigurationException(f"{name}={value!r} in the environment is no integer") from error


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
