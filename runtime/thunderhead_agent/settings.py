"""What this agent is told: the frozen job and the variables of the treaty, read once, checked against each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from thunderhead_api import treaty
from thunderhead_api.messages import FrozenJob
from thunderhead_api.treaty import Env

DEFAULT_GRACE_SECONDS = 120


class SettingsError(ValueError):
    """The agent was started with variables or a job file it cannot work with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an agent needs to know, resolved.

    Attributes:
        key: what the agents of this attempt share; None for a job of one node, whose agent has nobody to meet.
        agent_host: address to listen on; empty for all addresses of the pod.
        threads: intra-op threads of every worker, the same on every node (it changes the bits of sums).
        grace_seconds: time from the first SIGTERM until the pod is killed.
    """

    job: FrozenJob
    job_file: Path
    node_rank: int
    pod: str
    node: str | None
    rendezvous_host: str
    rendezvous_port: int
    key: bytes | None = field(repr=False)
    agent_host: str
    agent_port: int
    code_dir: Path
    run_dir: Path
    results_dir: Path
    board_dir: Path
    termination_file: Path
    cgroup_dir: Path
    threads: int
    grace_seconds: float

    @property
    def processes(self) -> int:
        """Workers on this node."""
        return self.job.processes_per_node

    def rank(self, local_rank: int) -> int:
        """Global rank of one of this node's workers."""
        return self.node_rank * self.processes + local_rank


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the job file and the variables.

    Raises:
        SettingsError: naming the variable or file and what is wrong with it.
    """
    job_file = Path(environ.get(Env.JOB_FILE) or f"{treaty.JOB_DIR}/{treaty.JOB_FILE_NAME}")
    job = _read_job(job_file)
    _check_same_job(environ, job)
    node_rank = _integer(environ, Env.NODE_RANK, 0)
    if node_rank >= job.nodes:
        raise SettingsError(
            f"{Env.NODE_RANK}={node_rank} is outside this job's {job.nodes} nodes; use 0 to {job.nodes - 1}"
        )
    host = environ.get(Env.RENDEZVOUS_HOST, "")
    if not host and job.nodes > 1:
        raise SettingsError(f"{Env.RENDEZVOUS_HOST} is not set; a job of {job.nodes} nodes needs the address of node 0")
    run_dir = Path(environ.get(Env.RUN_DIR) or treaty.RUN_DIR)
    return Settings(
        job=job,
        job_file=job_file,
        node_rank=node_rank,
        pod=environ.get(Env.POD) or f"{job.name}-{job.attempt}-{node_rank}",
        node=environ.get(Env.NODE) or None,
        rendezvous_host=host or "127.0.0.1",
        rendezvous_port=_integer(environ, Env.RENDEZVOUS_PORT, treaty.RENDEZVOUS_PORT),
        key=_key(environ, job) if job.nodes > 1 else None,
        agent_host=environ.get(Env.AGENT_HOST, ""),
        agent_port=_integer(environ, Env.AGENT_PORT, treaty.AGENT_PORT),
        code_dir=Path(environ.get(Env.CODE_DIR) or treaty.CODE_DIR),
        run_dir=run_dir,
        results_dir=Path(environ.get(Env.RESULTS_DIR) or run_dir),
        board_dir=_board_dir(run_dir),
        termination_file=Path(environ.get(Env.TERMINATION_FILE) or treaty.TERMINATION_FILE),
        cgroup_dir=Path(environ.get(Env.CGROUP_DIR) or treaty.CGROUP_DIR),
        threads=_threads(environ, job),
        grace_seconds=float(job.spec.get("terminationGracePeriodSeconds") or DEFAULT_GRACE_SECONDS),
    )


def cpu_quantity(text: str | int | float) -> Decimal:
    """CPUs of a Kubernetes quantity: ``"500m"`` is 0.5, ``4`` and ``"4"`` are 4.

    Raises:
        ValueError: not a quantity of CPUs.
    """
    number = str(text).strip()
    try:
        return Decimal(number[:-1]) / 1000 if number.endswith("m") else Decimal(number)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a quantity of CPUs; write 4, '4' or '500m'") from None


def default_threads(spec: Mapping[str, Any], processes: int) -> int:
    """Threads per worker from the spec alone, so that every node and every attempt computes the same number."""
    resources = spec.get("resources") or {}
    for kind in ("limits", "requests"):
        cpus = (resources.get(kind) or {}).get("cpu")
        if cpus is not None:
            return max(1, int(cpu_quantity(cpus) / processes))
    return 1


def _threads(environ: Mapping[str, str], job: FrozenJob) -> int:
    if environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(environ["OMP_NUM_THREADS"]))
    try:
        return default_threads(job.spec, job.processes_per_node)
    except ValueError as error:
        raise SettingsError(f"spec.resources: {error}") from error


def _read_job(path: Path) -> FrozenJob:
    try:
        return FrozenJob.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{Env.JOB_FILE}={path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise SettingsError(f"{Env.JOB_FILE}={path} is not a frozen job: {error}") from error


def _key(environ: Mapping[str, str], job: FrozenJob) -> bytes:
    path = environ.get(Env.KEY_FILE)
    if not path:
        raise SettingsError(
            f"{Env.KEY_FILE} is not set; a job of {job.nodes} nodes needs the key of its attempt, "
            "which an operator of this version makes: upgrade the operator first, then the runtime image"
        )
    try:
        key = bytes.fromhex(Path(path).read_text("ascii"))
    except OSError as error:
        raise SettingsError(f"{Env.KEY_FILE}={path} cannot be read: {error.strerror}") from error
    except ValueError:
        key = b""
    if len(key) != treaty.KEY_BYTES:
        raise SettingsError(f"{Env.KEY_FILE}={path} holds no key; it must be {2 * treaty.KEY_BYTES} hexadecimal digits")
    return key


def _check_same_job(environ: Mapping[str, str], job: FrozenJob) -> None:
    expected = {
        Env.JOB: job.name,
        Env.NAMESPACE: job.namespace,
        Env.UID: job.uid,
        Env.ATTEMPT: str(job.attempt),
        Env.NODES: str(job.nodes),
    }
    for variable, value in expected.items():
        given = environ.get(variable)
        if given is not None and given != value:
            raise SettingsError(f"{variable}={given}, but the job file says {value}; the pod mixes two attempts")


def _integer(environ: Mapping[str, str], name: Env, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdigit():
        raise SettingsError(f"{name}={text!r} is not a whole number of at least 0")
    return int(text)


def _board_dir(run_dir: Path) -> Path:
    """Memory, where the platform has it: a worker's write must never wait for a disk."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else run_dir
