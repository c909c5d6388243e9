"""The trainer's link to its job, as the agent's workers provide it: board, committed checkpoints, agreement to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thunderhead.job.board import Board, Word
from thunderhead.job.link import Ask, CheckpointPolicy, CurveRecorder, JobCheckpoints, StopControl
from thunderhead.job.stop import StopAgreement
from thunderhead.store import CheckpointSettings, Execution, JobAddress, open_job_checkpoints
from thunderhead_agent.curve_file import FILE, CurveFile
from thunderhead_agent.plan import WorkerPlan
from thunderhead_agent.process_group import another_client
from thunderhead_api.messages import FrozenJob

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

    from thunderhead.store.exchange import Exchange


@dataclass(slots=True, kw_only=True)
class AgentLink:
    """Implements :class:`thunderhead.job.link.JobLink`."""

    board: Board
    checkpoints: JobCheckpoints
    policy: CheckpointPolicy
    stop: StopControl
    curves: CurveRecorder | None


@contextmanager
def job_link(job: FrozenJob, plan: WorkerPlan, board: Board, store: Store | None) -> Iterator[AgentLink]:
    """The link of one worker; ``store`` is ``None`` for a single process."""
    # A client that waits locks out every thread that shares it, and the process group's does wait.
    own = another_client(plan) if store is not None else None
    stop = StopAgreement(
        asked=lambda: board.words[Word.STOP] != 0,
        store=_namespace(own, "stop"),
        rank=plan.rank,
        world_size=plan.world_size,
    )
    curves = CurveFile(plan.run_dir / FILE) if plan.rank == 0 else None
    link = AgentLink(
        board=board,
        checkpoints=_checkpoints(job, plan, board, _namespace(own, "checkpoints"), stop),
        policy=_policy(job),
        stop=stop,
        curves=curves,
    )
    stop.start()
    yield link
    stop.close()
    if curves is not None:
        curves.close()


def _namespace(store: Store | None, name: str) -> Store | None:
    if store is None:
        return None
    from torch._C._distributed_c10d import PrefixStore

    return PrefixStore(name, store)


def _policy(job: FrozenJob) -> CheckpointPolicy:
    spec = job.spec.get("checkpoint") or {}
    grace_s = job.spec.get("terminationGracePeriodSeconds")
    return CheckpointPolicy(
        every_steps=spec.get("everySteps"),
        every_seconds=spec.get("everySeconds"),
        module_settings=spec.get("settingsFrom") == "Module",
        **({} if grace_s is None else {"stop_seconds": float(grace_s)}),
    )


def _checkpoints(
    job: FrozenJob, plan: WorkerPlan, board: Board, store: Store | None, stop: StopAgreement
) -> JobCheckpoints:
    from thunderhead.store.exchange import StoreExchange

    exchange: Exchange | None = StoreExchange(store) if store is not None else None
    spec = job.spec["checkpoint"]
    s3 = spec.get("s3") or {}
    return open_job_checkpoints(
        JobAddress(
            uri=spec["uri"],
            namespace=job.namespace,
            name=job.name,
            uid=job.uid,
            endpoint=s3.get("endpoint"),
            region=s3.get("region"),
            secret=s3.get("credentialsSecretName"),
        ),
        CheckpointSettings(
            execution=Execution(plan.attempt, plan.round),
            rank=plan.rank,
            world_size=plan.world_size,
            keep=spec.get("keep", 3),
            resume=spec.get("resume", "Auto"),
            known=job.checkpoint.uri if job.checkpoint is not None else None,
        ),
        exchange=exchange,
        on_commit=lambda step, uri, at: board.publish_commit(step=step, uri=uri, at=at),
        # A fresh checkpoint as soon as there is somewhere to put it, instead of the one that could not be stored.
        on_back=lambda: stop.request(Ask.SAVE),
        asked=lambda: board.words[Word.STOP] != 0,
    )
