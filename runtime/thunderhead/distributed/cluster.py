"""Who started the processes and where they meet, as objects that ``Trainer(plugins=...)`` takes.

Nobody needs to pass one: ranks follow the environment (``thunderhead.distributed.environment``), and ``find_cluster``
says which of these it was. One that is passed is asked instead.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod

from thunderhead.distributed.environment import ProcessRank, find_process_rank, free_port
from thunderhead.exceptions import MisconfigurationException


class ClusterEnvironment(ABC):
    """What starts processes and tells them where they stand; derive from it for a launcher of your own."""

    @property
    @abstractmethod
    def creates_processes_externally(self) -> bool:
        """Whether every process is started from outside; otherwise one per node is, and it starts the others."""

    @property
    @abstractmethod
    def main_address(self) -> str:
        """Host of rank 0, where all meet."""

    @property
    @abstractmethod
    def main_port(self) -> int:
        """TCP port there."""

    @staticmethod
    @abstractmethod
    def detect() -> bool:
        """Whether this process was started so."""

    @abstractmethod
    def world_size(self) -> int:
        """Number of processes over all nodes."""

    @abstractmethod
    def set_world_size(self, size: int) -> None:
        """Told by the Trainer: ``devices`` times ``num_nodes``. May be ignored."""

    @abstractmethod
    def global_rank(self) -> int:
        """Rank among all."""

    @abstractmethod
    def set_global_rank(self, rank: int) -> None:
        """Told by the Trainer: ``node_rank`` times ``devices`` plus ``local_rank``. May be ignored."""

    @abstractmethod
    def local_rank(self) -> int:
        """Rank on this node."""

    @abstractmethod
    def node_rank(self) -> int:
        """Which node."""

    def num_nodes(self) -> int | None:
        """How many nodes there are, where it knows."""
        return None

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:  # noqa: B027 - optional
        """Refuse what the Trainer wants, if it contradicts what was started."""

    def teardown(self) -> None:  # noqa: B027 - optional
        """The run is over."""


class _FromEnvironment(ClusterEnvironment):
    """Ranks as ``RANK``, ``WORLD_SIZE`` and the rest say."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return os.environ.get("MASTER_ADDR") or "127.0.0.1"

    @property
    def main_port(self) -> int:
        return int(os.environ.get("MASTER_PORT") or 29500)

    def world_size(self) -> int:
        return find_process_rank().world_size

    def set_world_size(self, size: int) -> None:
        """The environment decides."""

    def global_rank(self) -> int:
        return find_process_rank().rank

    def set_global_rank(self, rank: int) -> None:
        """The environment decides."""

    def local_rank(self) -> int:
        return find_process_rank().local_rank

    def node_rank(self) -> int:
        return find_process_rank().node_rank

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        if num_devices * num_nodes != self.world_size():
            raise MisconfigurationException(
                f"devices={num_devices} times num_nodes={num_nodes} is not the number of processes that were started "
                f"(WORLD_SIZE={self.world_size()}); leave both out"
            )


class JobEnvironment(_FromEnvironment):
    """A job of ours: the agent of each node starts its processes and sets their ranks."""

    @staticmethod
    def detect() -> bool:
        from thunderhead.job import attached

        return attached() is not None


class TorchElasticEnvironment(_FromEnvironment):
    """torchrun."""

    @staticmethod
    def detect() -> bool:
        return "TORCHELASTIC_RUN_ID" in os.environ


class LightningEnvironment(_FromEnvironment):
    """A plain machine. With ``LOCAL_RANK`` or ``RANK`` set, every process was started from outside; else we start them.

    With several nodes, set ``MASTER_ADDR``, ``MASTER_PORT`` and ``NODE_RANK`` on each.
    """

    def __init__(self) -> None:
        self._port: int | None = None
        self._place: tuple[int, int] | None = None

    @property
    def creates_processes_externally(self) -> bool:
        return "LOCAL_RANK" in os.environ or "RANK" in os.environ

    @property
    def main_port(self) -> int:
        if self._port is None:
            self._port = int(os.environ.get("MASTER_PORT") or free_port())
        return self._port

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return find_process_rank().world_size if self._place is None else self._place[1]

    def set_world_size(self, size: int) -> None:
        """Taken over where nobody else has said."""
        if not self.creates_processes_externally:
            self._place = (self.global_rank(), size)

    def global_rank(self) -> int:
        return find_process_rank().rank if self._place is None else self._place[0]

    def set_global_rank(self, rank: int) -> None:
        """Taken over where nobody else has said."""
        if not self.creates_processes_externally:
            self._place = (rank, self.world_size())

    def local_rank(self) -> int:
        return int(os.environ.get("LOCAL_RANK", "0"))

    def node_rank(self) -> int:
        return int(os.environ.get("NODE_RANK") or os.environ.get("GROUP_RANK") or 0)


def find_cluster() -> ClusterEnvironment:
    """The environment that this process was started in."""
    found = next(kind for kind in (JobEnvironment, TorchElasticEnvironment, LightningEnvironment) if kind.detect())
    return found()


def process_rank_in(cluster: ClusterEnvironment, devices: int, num_nodes: int) -> ProcessRank:
    """Where this process stands in a cluster that was passed, once it has been told what the Trainer wants.

    Raises:
        MisconfigurationException: its number of processes is another.
    """
    cluster.set_world_size(devices * num_nodes)
    cluster.set_global_rank(cluster.node_rank() * devices + cluster.local_rank())
    cluster.validate_settings(num_devices=devices, num_nodes=num_nodes)
    place = ProcessRank(cluster.global_rank(), cluster.world_size(), cluster.local_rank(), devices, cluster.node_rank())
    if place.world_size != devices * num_nodes:
        raise MisconfigurationException(
            f"devices={devices} times num_nodes={num_nodes} is not the world size of {place.world_size} that "
            f"{type(cluster).__name__} tells of"
        )
    return place
