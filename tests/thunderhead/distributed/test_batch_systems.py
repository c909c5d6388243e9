"""Processes that a batch system has started: which, how many, where they meet; and SLURM's time limit."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from cli_parts import QUIET, CliData, CliModel
from torch.utils.data import DataLoader

import thunderhead as th
from thunderhead.callbacks.requeue import SLURMRequeue
from thunderhead.distributed.batch_systems import (
    KubeflowEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    find_scheduler,
)
from thunderhead.distributed.environment import ProcessRank, find_process_rank
from thunderhead.exceptions import MisconfigurationException
from thunderhead.warning import PossibleUserWarning

SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NODELIST": "node[07-12,15],other",
    "SLURM_JOB_ID": "123456",
    "SLURM_JOB_NAME": "train",
}
LSF = {
    "LSB_JOBID": "9876",
    "LSB_DJOB_RANKFILE": "hosts",
    "JSM_NAMESPACE_LOCAL_RANK": "1",
    "JSM_NAMESPACE_SIZE": "4",
    "JSM_NAMESPACE_RANK": "3",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's; what is told on in the variables is taken back."""
    for name in (*SLURM, *LSF, "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    (tmp_path / "hosts").write_text("launch\nnode1\nnode1\nnode2\nnode2\n")
    monkeypatch.setattr("thunderhead.distributed.batch_systems.find_spec", lambda name: None)


class Communicator:
    """Of four processes on two hosts, as rank 3 sees it."""

    def Get_size(self) -> int:
        return 4

    def Get_rank(self) -> int:
        return 3

    def bcast(self, value: Any, root: int) -> Any:
        return "node1", 4711

    def allgather(self, host: str) -> list[str]:
        return ["node1", "node1", "node2", "node2"]


@pytest.mark.parametrize(
    ("made", "host", "port"),
    [
        (lambda: SLURMEnvironment(environ=dict(SLURM)), "node07", 18456),
        (lambda: LSFEnvironment(environ=dict(LSF), host="node2"), "node1", 10876),
        (lambda: MPIEnvironment(communicator=Communicator(), environ={}), "node1", 4711),
    ],
)
def test_each_tells_of_the_same_place(made: Callable[[], Any], host: str, port: int) -> None:
    found = made()
    assert found.creates_processes_externally
    place = (found.global_rank(), found.world_size(), found.local_rank(), found.node_rank(), found.num_nodes())
    assert place == (3, 4, 1, 1, 2)
    assert (found.main_address, found.main_port) == (host, port)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("a", "a"),
        ("a b c", "a"),
        ("a,b", "a"),
        ("n[5-9]", "n5"),
        ("n[05,7],m", "n05"),
        ("n[3]", "n3"),
        ("n[5-9]-x", "n5-x"),
    ],
)
def test_the_first_of_slurms_hosts(nodes: str, first: str) -> None:
    assert SLURMEnvironment.resolve_root_node_address(nodes) == first


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None),
        (SLURM, SLURMEnvironment),
        (LSF, LSFEnvironment),
        ({**LSF, **SLURM}, SLURMEnvironment),
        ({**SLURM, "TORCHELASTIC_RUN_ID": "x"}, None),
        ({**SLURM, "SLURM_JOB_NAME": "bash"}, None),
        ({**SLURM, "SLURM_JOB_NAME": "interactive"}, None),
        ({**SLURM, "RANK": "1", "WORLD_SIZE": "4"}, SLURMEnvironment),
        ({**SLURM, "RANK": "1", "WORLD_SIZE": "32"}, None),
    ],
)
def test_what_is_found(environ: dict[str, str], found: type | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert type(find_scheduler()) is (found or type(None))


def test_mpi_is_found_where_several_run_under_it(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("mpi4py")
    package.MPI = SimpleNamespace(COMM_WORLD=Communicator())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mpi4py", package)
    monkeypatch.setattr("thunderhead.distributed.batch_systems.find_spec", lambda name: package)
    assert type(find_scheduler()) is MPIEnvironment
    monkeypatch.setattr(Communicator, "Get_size", lambda self: 1)
    assert find_scheduler() is None


def test_a_trainer_follows_slurm_and_tells_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    trainer = th.Trainer(**QUIET)
    place = (trainer.global_rank, trainer.world_size, trainer.local_rank, trainer.node_rank, trainer.num_nodes)
    assert place == (3, 4, 1, 1, 2)
    assert type(trainer.strategy.cluster_environment) is SLURMEnvironment
    assert find_process_rank(os.environ) == ProcessRank(3, 4, 1, 2, 1)
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("node07", "18456")
    with pytest.raises(MisconfigurationException, match=r"devices=3, but SLURM_NTASKS_PER_NODE=2; leave devices out"):
        th.Trainer(**QUIET, devices=3)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {**SLURM, "MASTER_PORT": "here"},
            "MASTER_PORT='here' in the environment is no integer, so SLURM does not say",
        ),
        ({**SLURM, "SLURM_PROCID": "x"}, "SLURM_PROCID='x' in the environment is no integer, so SLURM does not say"),
        (
            {n: v for n, v in SLURM.items() if n != "SLURM_NTASKS_PER_NODE"},
            "SLURM_NTASKS=4, but nobody says how many a",
        ),
        ({**LSF, "LSB_DJOB_RANKFILE": "nowhere"}, r"LSB_DJOB_RANKFILE='nowhere' cannot be read \(No such file"),
    ],
)
def test_what_cannot_be_read_is_said(environ: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MisconfigurationException, match=said):
        th.Trainer(**QUIET)


def test_a_script_without_srun_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setattr("thunderhead.distributed.batch_systems.shutil.which", lambda name: "/usr/bin/srun")
    with pytest.warns(PossibleUserWarning, match="srun did not start the script"):
        assert find_scheduler() is None


KUBEFLOW = {"RANK": "2", "WORLD_SIZE": "3", "MASTER_ADDR": "m", "MASTER_PORT": "23456", "PET_NNODES": "3"}


def test_kubeflows_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_process_rank(KUBEFLOW) == ProcessRank(2, 3, 0, 1, 2)
    assert find_process_rank({**KUBEFLOW, "PET_NNODES": "1:3"}) == ProcessRank(2, 3, 2, 3, 0)
    found = KubeflowEnvironment(environ=dict(KUBEFLOW))
    assert (found.global_rank(), found.world_size(), found.local_rank(), found.node_rank()) == (2, 3, 0, 2)
    with pytest.raises(NotImplementedError):
        KubeflowEnvironment.detect()


def test_rays_workers() -> None:
    """Ray Train sets these for each of its workers."""
    ray = {"RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4", "NODE_RANK": "1"}
    assert find_process_rank(ray) == ProcessRank(3, 4, 1, 2, 1)


# --- the time limit ------------------------------------------------------------------------------------------------

ALONE = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_ID": "42"}


class Signalled(th.Callback):
    """SLURM says that the time is nearly up."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """In the third batch."""
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGUSR1)


def requeued(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], code: int = 0) -> list[Sequence[str]]:
    """What is called instead of SLURM's own commands."""
    called: list[Sequence[str]] = []

    def call(command: Sequence[str]) -> int:
        called.append(command)
        return code

    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    made = SLURMRequeue.__init__

    def init(self: SLURMRequeue, environment: SLURMEnvironment) -> None:
        made(self, environment, os.environ, call)

    monkeypatch.setattr(SLURMRequeue, "__init__", init)
    return called


def shuffled() -> DataLoader[Any]:
    return DataLoader(torch.arange(32.0).reshape(8, 1, 4), shuffle=True)


def fit(*callbacks: th.Callback, **arguments: Any) -> dict[str, torch.Tensor]:
    th.seed_everything(3, verbose=False)
    trainer = th.Trainer(**QUIET, callbacks=list(callbacks))
    model = CliModel(lr=1e-4)
    trainer.fit(model, shuffled(), **arguments)
    return model.state_dict()


def test_a_job_is_saved_requeued_and_goes_on_with_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = fit()
    called = requeued(monkeypatch, ALONE)
    before = signal.getsignal(signal.SIGUSR1)
    fit(Signalled())
    assert called == [["scontrol", "requeue", "42"]]
    assert signal.getsignal(signal.SIGUSR1) == before
    assert torch.load(tmp_path / "hpc_ckpt_1.ckpt")["global_step"] == 3

    fresh = fit()
    assert "this job was requeued" not in caplog.text, "a new job begins anew"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    went_on = fit(ckpt_path="begin.ckpt")  # what the script says is where the job began
    assert "this job was requeued, so it goes on from" in caplog.text
    for found in (fresh, went_on):
        assert all(torch.equal(value, undisturbed[name]) for name, value in found.items())


def test_tasks_of_an_array_and_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    called = requeued(monkeypatch, {**ALONE, "SLURM_ARRAY_JOB_ID": "40", "SLURM_ARRAY_TASK_ID": "7"}, code=1)
    with pytest.warns(UserWarning, match=r"scontrol requeue 40_7 ended with 1; submit the job again"):
        fit(Signalled())
    assert called == [["scontrol", "requeue", "40_7"]]


def test_it_is_not_there_where_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def has(**arguments: Any) -> bool:
        return any(isinstance(callback, SLURMRequeue) for callback in th.Trainer(**QUIET, **arguments).callbacks)

    assert not has()
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    assert has()
    assert not has(plugins=SLURMEnvironment(auto_requeue=False))
    assert not has(fast_dev_run=True)
    th.Trainer(**QUIET).fit(CliModel(), datamodule=CliData())
