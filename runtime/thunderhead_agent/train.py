"""What a worker does: join the process group, build module, datamodule and Trainer from the job, run the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thunderhead import job as trainer_job
from thunderhead.job.board import Board, Phase, Word
from thunderhead.job.errors import InvalidConfiguration
from thunderhead_agent.build import build
from thunderhead_agent.link import job_link
from thunderhead_agent.plan import WorkerPlan
from thunderhead_agent.process_group import process_group
from thunderhead_agent.results import noted
from thunderhead_api.messages import FrozenJob
from thunderhead_api.treaty import Outcome

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

    from thunderhead import LightningDataModule, LightningModule

Spec = Mapping[str, Any]


def train(plan: WorkerPlan, board: Board) -> Outcome:
    """The entry of a worker; :mod:`thunderhead_agent.worker` says what becomes of its exceptions."""
    job = FrozenJob.model_validate_json(plan.job_file.read_bytes())
    _prepare_imports(plan)
    with _group(plan, board) as store, job_link(job, plan, board, store) as link:
        import thunderhead as th

        trainer_job.attach(link)
        if job.spec.get("seed") is not None:
            th.seed_everything(job.spec["seed"], workers=True)
        module = _module(job.spec)
        datamodule = _datamodule(job.spec)
        trainer = th.Trainer(**trainer_arguments(job.spec.get("trainer") or {}, plan))
        go_on_in_files(trainer.loggers, plan.results_dir)
        go_on_in_runs(trainer.loggers, job)
        command = job.spec.get("command") or "fit"
        with noted(trainer, plan.run_dir):
            getattr(trainer, command)(module, datamodule=datamodule)
    return Outcome.DONE


def trainer_arguments(spec: Spec, plan: WorkerPlan) -> dict[str, Any]:
    """Arguments of the Trainer from ``spec.trainer``; what is not given is left to the Trainer's own defaults.

    Raises:
        InvalidConfiguration: a callback or logger cannot be built.
    """
    arguments = {name: value for name, value in spec.items() if value is not None}
    for name in ("callbacks", "logger"):
        if isinstance(arguments.get(name), list):
            described = enumerate(arguments[name])
            arguments[name] = [build(item, f"spec.trainer.{name}[{index}]") for index, item in described]
    if arguments.get("logger") == []:
        arguments["logger"] = False
    return {
        # Without a path of their own, logs and .ckpt files go where a read-only root can be written to.
        "default_root_dir": str(plan.results_dir),
        "enable_progress_bar": False,
        **arguments,
        "devices": plan.local_world_size,
        "num_nodes": plan.nodes,
    }


def go_on_in_files(loggers: Iterable[Any], results_dir: Path) -> None:
    """Let every attempt write where the one before did, in a directory that is this run's alone.

    Loggers with a version of their own, or with a place elsewhere, which other jobs may share, are left as they are.
    """
    from thunderhead.loggers.versions import VersionedLogger

    taken = set()
    for logger in loggers:
        if isinstance(logger, VersionedLogger) and logger._version is None:
            root = os.path.abspath(logger.root_dir)
            if Path(root).is_relative_to(results_dir) and (type(logger), root) not in taken:
                taken.add((type(logger), root))
                logger._version = 0


def go_on_in_runs(loggers: Iterable[Any], job: FrozenJob) -> None:
    """Let every attempt write the run of a service that the one before did; several loggers of one kind, several."""
    from thunderhead.loggers.service import ServiceLogger

    told: dict[type, int] = {}
    for logger in loggers:
        if isinstance(logger, ServiceLogger):
            number = told[type(logger)] = told.get(type(logger), -1) + 1
            name = f"{job.name[:100]}-{job.uid[:8]}"
            logger._belongs_to(name if number == 0 else f"{name}-{number}", job.spec_hash)


def _prepare_imports(plan: WorkerPlan) -> None:
    """The user's files come first, for this process and for whatever Python it starts."""
    if plan.code_dir.is_dir():
        sys.path.insert(0, str(plan.code_dir))
        inherited = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(plan.code_dir), *([inherited] if inherited else [])])
        sys.dont_write_bytecode = True  # the directory is read-only


@contextmanager
def _group(plan: WorkerPlan, board: Board) -> Iterator[Store | None]:
    """The process group; none, and no store, for a single process."""
    if plan.world_size == 1:
        board.words[Word.PHASE] = Phase.BUILDING
        yield None
        return
    from thunderhead.device_kinds import present

    board.words[Word.PHASE] = Phase.RENDEZVOUS
    with process_group(plan, present()[0]) as store:
        board.words[Word.PHASE] = Phase.BUILDING
        yield store


def _module(spec: Spec) -> LightningModule:
    from thunderhead import LightningModule

    module = build(spec["module"], "spec.module")
    if not isinstance(module, LightningModule):
        raise _wrong_kind(module, LightningModule, "spec.module")
    return module


def _datamodule(spec: Spec) -> LightningDataModule | None:
    from thunderhead import LightningDataModule

    if spec.get("datamodule") is None:
        return None
    datamodule = build(spec["datamodule"], "spec.datamodule")
    if not isinstance(datamodule, LightningDataModule):
        raise _wrong_kind(datamodule, LightningDataModule, "spec.datamodule")
    return datamodule


def _wrong_kind(found: object, base: type, where: str) -> InvalidConfiguration:
    kind = type(found)
    return InvalidConfiguration(f"{where}: {kind.__module__}.{kind.__qualname__} is not a thunderhead.{base.__name__}")
