"""What one worker process is told, and the environment it gets. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thunderhead_agent.addresses import LOOPBACK
from thunderhead_agent.session import Meeting
from thunderhead_agent.settings import Settings

TRAIN = "thunderhead_agent.train:train"
"""The entry of a worker: ``module:function``, called with the plan and the board, returns the outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """Everything one worker needs; picklable.

    Attributes:
        environ: variables it gets; ``defaults`` only where the pod does not set them.
    """

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    node_rank: int
    nodes: int
    attempt: int
    round: int
    master_addr: str
    master_port: int
    threads: int
    job_file: Path
    board: Path
    code_dir: Path
    run_dir: Path
    results_dir: Path
    entry: str = TRAIN
    environ: tuple[tuple[str, str], ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()

    @property
    def store_prefix(self) -> str:
        """Namespace of this execution in the store: rounds share one server, and old keys must never be read again."""
        return f"{self.attempt}/{self.round}"


def worker_plans(settings: Settings, met: Meeting, entry: str = TRAIN) -> list[WorkerPlan]:
    """One plan per worker of this node."""
    return [_plan(settings, met, local_rank, entry) for local_rank in range(settings.processes)]


def board_path(settings: Settings, number: int, local_rank: int) -> Path:
    """Where a worker's board lies in a round; unique on the machine, since the local mode runs all pods on one."""
    job = settings.job
    return settings.board_dir / f"thunderhead-{job.uid}-{job.attempt}-{number}-{settings.rank(local_rank)}.board"


def _plan(settings: Settings, met: Meeting, local_rank: int, entry: str) -> WorkerPlan:
    job = settings.job
    return WorkerPlan(
        rank=settings.rank(local_rank),
        local_rank=local_rank,
        world_size=job.world_size,
        local_world_size=settings.processes,
        node_rank=settings.node_rank,
        nodes=job.nodes,
        attempt=job.attempt,
        round=met.round,
        # The store never leaves node 0's loopback; elsewhere this is the agent's own port, see ``store_lines``.
        master_addr=LOOPBACK,
        master_port=met.store_port,
        threads=settings.threads,
        job_file=settings.job_file,
        board=board_path(settings, met.round, local_rank),
        code_dir=settings.code_dir,
        run_dir=settings.run_dir,
        results_dir=settings.results_dir,
        entry=entry,
        environ=tuple(_environ(settings, met, local_rank).items()),
        # Without a network there may be no address behind the host's name, which is what gloo looks up.
        defaults=(("GLOO_SOCKET_IFNAME", "lo"),) if settings.agent_host == LOOPBACK else (),
    )


def _environ(settings: Settings, met: Meeting, local_rank: int) -> dict[str, str]:
    """What PyTorch and libraries built on it look for; ``WORLD_SIZE`` counts processes, never pods."""
    job, rank = settings.job, settings.rank(local_rank)
    environ = {
        "RANK": rank,
        "LOCAL_RANK": local_rank,
        "WORLD_SIZE": job.world_size,
        "LOCAL_WORLD_SIZE": settings.processes,
        "NODE_RANK": settings.node_rank,
        "GROUP_RANK": settings.node_rank,
        "GROUP_WORLD_SIZE": job.nodes,
        "ROLE_NAME": "trainer",
        "ROLE_RANK": rank,
        "ROLE_WORLD_SIZE": job.world_size,
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": met.store_port,
        "TORCHELASTIC_RUN_ID": f"{job.uid}-{job.attempt}",
        "TORCHELASTIC_RESTART_COUNT": met.round,
        "TORCHELASTIC_MAX_RESTARTS": 0,
        # A user's own init_process_group("env://") joins our store instead of opening a second one on its port.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": settings.threads,
    }
    return {name: str(value) for name, value in environ.items()}
