"""Batch systems that start every process: what their variables say of ranks and of where to meet.

==================  ==========================================  =================================================
environment         found by                                    meets at
==================  ==========================================  =================================================
SLURM               ``SLURM_NTASKS``, set by srun               first of ``SLURM_NODELIST``, port from the job's id
LSF                 ``LSB_JOBID`` and jsrun's ``JSM_*``         second line of ``LSB_DJOB_RANKFILE``, the same
MPI                 ``mpi4py`` with several processes           rank 0's host, a free port of it
Kubeflow            passed only                                 ``MASTER_ADDR`` and ``MASTER_PORT``
==================  ==========================================  =================================================
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Mapping, MutableMapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from thunderhead.distributed.cluster import ClusterEnvironment, JobEnvironment, TorchElasticEnvironment
from thunderhead.distributed.environment import free_port
from thunderhead.exceptions import MisconfigurationException
from thunderhead.warning import PossibleUserWarning, warn_once

_BY_HAND: Final = ("bash", "interactive")
_RANGE: Final = re.compile(r"\[([^\],-]*)[^\]]*\]")
_LSF: Final = ("LSB_JOBID", "LSB_DJOB_RANKFILE", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE")


class Scheduled(ClusterEnvironment):
    """What they share: processes are there already, and ranks are not for the Trainer to set.

    Args:
        environ: the variables.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def set_world_size(self, size: int) -> None:
        """The scheduler decides."""

    def set_global_rank(self, rank: int) -> None:
        """The scheduler decides."""

    def _number(self, name: str) -> int:
        text = self._environ.get(name)
        try:
            return int(text or "")
        except ValueError as error:
            kind = type(self).__name__.removesuffix("Environment")
            raise MisconfigurationException(
                f"{name}={text!r} in the environment is no integer, so {kind} does not say where this process stands; "
                "start the script with its launcher, or pass plugins=LightningEnvironment()"
            ) from error


class SLURMEnvironment(Scheduled):
    """Processes that ``srun`` has started.

    Under a job name of ``bash`` or ``interactive`` it is not found, so that a script can be tried in an allocation.

    Args:
        auto_requeue: save and requeue the job when SLURM sends the signal (``#SBATCH --signal=SIGUSR1@90``).
        requeue_signal: which signal; SIGUSR1 by default.
        environ: the variables.

    Raises:
        MisconfigurationException: the job gives a number of tasks, but not per node.
    """

    def __init__(
        self,
        auto_requeue: bool = True,
        requeue_signal: signal.Signals | None = None,
        *,
        environ: MutableMapping[str, str] | None = None,
    ) -> None:
        super().__init__(environ)
        self.auto_requeue = auto_requeue
        self.requeue_signal = signal.SIGUSR1 if requeue_signal is None else requeue_signal
        tasks = self._environ.get("SLURM_NTASKS", "1")
        if tasks != "1" and "SLURM_NTASKS_PER_NODE" not in self._environ:
            raise MisconfigurationException(
                f"SLURM_NTASKS={tasks}, but nobody says how many a node has; write --ntasks-per-node in the batch "
                "script in the place of --ntasks"
            )

    @staticmethod
    def detect() -> bool:
        return _found_by_srun(os.environ)

    @property
    def main_address(self) -> str:
        return self._environ.get("MASTER_ADDR") or self.resolve_root_node_address(
            self._environ.get("SLURM_NODELIST", "127.0.0.1")
        )

    @property
    def main_port(self) -> int:
        digits = self._environ.get("SLURM_JOB_ID", "")[-4:]
        if self._environ.get("MASTER_PORT"):
            return self._number("MASTER_PORT")
        return 15_000 + int(digits) if digits.isdigit() else 12_910

    def world_size(self) -> int:
        return self._number("SLURM_NTASKS")

    def global_rank(self) -> int:
        return self._number("SLURM_PROCID")

    def local_rank(self) -> int:
        return self._number("SLURM_LOCALID")

    def node_rank(self) -> int:
        return self._number("SLURM_NODEID")

    def num_nodes(self) -> int | None:
        return self._number("SLURM_NNODES") if "SLURM_NNODES" in self._environ else None

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        wanted = {"SLURM_NTASKS_PER_NODE": ("devices", num_devices), "SLURM_NNODES": ("num_nodes", num_nodes)}
        for name, (argument, value) in wanted.items():
            if name in self._environ and self._number(name) != value:
                raise MisconfigurationException(
                    f"{argument}={value}, but {name}={self._environ[name]}; leave {argument} out, or write "
                    f"--{'ntasks-per-node' if argument == 'devices' else 'nodes'}={value} in the batch script"
                )

    @staticmethod
    def resolve_root_node_address(nodes: str) -> str:
        """The first host of a list as SLURM writes it: ``host[5-9,12],other`` → ``host5``."""
        return re.split(r"[ ,]", _RANGE.sub(r"\1", nodes))[0]

    @staticmethod
    def job_name() -> str | None:
        """Name of the job."""
        return os.environ.get("SLURM_JOB_NAME")

    @staticmethod
    def job_id() -> int | None:
        """Number of the job; None where there is none, or a person tries something in an allocation."""
        number = os.environ.get("SLURM_JOB_ID", "")
        return int(number) if number.isdigit() and os.environ.get("SLURM_JOB_NAME") not in _BY_HAND else None


class LSFEnvironment(Scheduled):
    """Processes that ``jsrun`` has started.

    Args:
        environ: the variables.
        host: name of this machine.
    """

    def __init__(self, *, environ: MutableMapping[str, str] | None = None, host: str | None = None) -> None:
        super().__init__(environ)
        self._host = socket.gethostname() if host is None else host

    @staticmethod
    def detect() -> bool:
        return all(name in os.environ for name in _LSF)

    @cached_property
    def _hosts(self) -> list[str]:
        """Hosts of the job, one for each slot, without the first, which is the one that launches."""
        path = self._environ.get("LSB_DJOB_RANKFILE", "")
        try:
            lines = Path(path).read_text().split()
        except OSError as error:
            raise MisconfigurationException(
                f"LSB_DJOB_RANKFILE={path!r} cannot be read ({error.strerror}), so nobody says where the processes of "
                "this LSF job are; start the script with jsrun"
            ) from error
        if len(lines) < 2:
            raise MisconfigurationException(f"LSB_DJOB_RANKFILE={path!r} names no host to compute on")
        return lines[1:]

    @property
    def main_address(self) -> str:
        return self._environ.get("MASTER_ADDR") or self._hosts[0]

    @property
    def main_port(self) -> int:
        given = self._environ.get("MASTER_PORT")
        return self._number("MASTER_PORT") if given else 10_000 + self._number("LSB_JOBID") % 1000

    def world_size(self) -> int:
        return self._number("JSM_NAMESPACE_SIZE")

    def global_rank(self) -> int:
        return self._number("JSM_NAMESPACE_RANK")

    def local_rank(self) -> int:
        return self._number("JSM_NAMESPACE_LOCAL_RANK")

    def node_rank(self) -> int:
        nodes = list(dict.fromkeys(self._hosts))
        if self._host not in nodes:
            raise MisconfigurationException(f"this machine, {self._host!r}, is none of LSB_DJOB_RANKFILE: {nodes}")
        return nodes.index(self._host)

    def num_nodes(self) -> int | None:
        return len(set(self._hosts))


class MPIEnvironment(Scheduled):
    """Processes that ``mpirun`` has started, asked by the package ``mpi4py``.

    Args:
        communicator: of all processes; MPI's own by default.
        environ: the variables.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """

    def __init__(self, *, communicator: Any = None, environ: MutableMapping[str, str] | None = None) -> None:
        super().__init__(environ)
        if communicator is None:
            if find_spec("mpi4py") is None:
                raise ModuleNotFoundError("MPIEnvironment needs mpi4py, which is not installed; pip install mpi4py")
            from mpi4py import MPI  # type: ignore[import-not-found,unused-ignore]

            communicator = MPI.COMM_WORLD
        self._all = communicator

    @staticmethod
    def detect() -> bool:
        """Where several processes run under it; a single one is as good as none."""
        if find_spec("mpi4py") is None:
            return False
        try:
            from mpi4py import MPI
        except ImportError:  # the package is there, and no MPI
            return False
        return bool(MPI.COMM_WORLD.Get_size() > 1)

    @cached_property
    def _met(self) -> tuple[str, int]:
        """Host and port of rank 0; all processes ask at the same moment."""
        host, port = self._all.bcast((socket.gethostname(), free_port()), root=0)
        return str(host), int(port)

    @cached_property
    def _hosts(self) -> list[str]:
        """The host of each rank; all processes ask at the same moment."""
        return [str(host) for host in self._all.allgather(socket.gethostname())]

    @property
    def main_address(self) -> str:
        return self._environ.get("MASTER_ADDR") or self._met[0]

    @property
    def main_port(self) -> int:
        return self._number("MASTER_PORT") if self._environ.get("MASTER_PORT") else self._met[1]

    def world_size(self) -> int:
        return int(self._all.Get_size())

    def global_rank(self) -> int:
        return int(self._all.Get_rank())

    def local_rank(self) -> int:
        rank = self.global_rank()
        return self._hosts[:rank].count(self._hosts[rank])

    def node_rank(self) -> int:
        return sorted(set(self._hosts)).index(self._hosts[self.global_rank()])

    def num_nodes(self) -> int | None:
        return len(set(self._hosts))


class KubeflowEnvironment(Scheduled):
    """Pods of a PyTorchJob, one process each. Never found by itself, for torchrun's variables say the same."""

    @staticmethod
    def detect() -> bool:
        """Not to be told from others.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "KubeflowEnvironment is not found by itself; pass Trainer(plugins=...), or leave it out"
        )

    @property
    def main_address(self) -> str:
        return self._environ["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        return self._number("MASTER_PORT")

    def world_size(self) -> int:
        return self._number("WORLD_SIZE")

    def global_rank(self) -> int:
        return self._number("RANK")

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return self.global_rank()

    def num_nodes(self) -> int | None:
        return self.world_size()


def find_scheduler() -> Scheduled | None:
    """SLURM, LSF or MPI, in this order, where one of them started this process.

    Not where one of its processes has started others, which torchrun's variables tell of.
    """
    if JobEnvironment.detect() or TorchElasticEnvironment.detect():
        return None
    kinds: tuple[type[Scheduled], ...] = (SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    found = next((kind() for kind in kinds if kind.detect()), None)
    told = os.environ.get("WORLD_SIZE")
    return None if found is None or told not in (None, str(found.world_size())) else found


def _found_by_srun(environ: Mapping[str, str]) -> bool:
    if environ.get("SLURM_JOB_NAME") in _BY_HAND:
        return False
    if "SLURM_NTASKS" in environ:
        return True
    if "SLURM_JOB_ID" in environ and shutil.which("srun") is not None:
        warn_once(
            "this is a SLURM job, but srun did not start the script, so it is one process: put srun before "
            f"{Path(sys.executable).name} {' '.join(sys.argv)[:64]}",
            PossibleUserWarning,
        )
    return False
