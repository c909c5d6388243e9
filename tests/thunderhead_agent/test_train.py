"""From the frozen job to a trained module: the real Trainer, store and agreement behind real agents."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent_attempts import Attempt, Start, newest_bits

from thunderhead.job.errors import InvalidConfiguration
from thunderhead.loggers import CSVLogger, TensorBoardLogger
from thunderhead.loggers.service import ServiceLogger
from thunderhead_agent.plan import WorkerPlan
from thunderhead_agent.train import go_on_in_files, go_on_in_runs, trainer_arguments
from thunderhead_api.messages import FrozenJob
from thunderhead_api.treaty import ExitCode, Outcome

pytestmark = pytest.mark.timeout(600)

CODE = """
import os
import time
import torch
import thunderhead as th
from thunderhead.job import attached
from thunderhead.job.stop import NEVER

class Data(th.LightningDataModule):
    def __init__(self, batch_size: int = 4):
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(96, 6, generator=generator)
        data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
        return torch.utils.data.DataLoader(data, batch_size=self.batch_size, shuffle=True)

class Regression(th.LightningModule):
    def __init__(self, lr: float = 0.01, hold_after: int = -1, lose: str = ""):
        super().__init__()
        self.lr, self.hold_after, self.lose = lr, hold_after, lose
        nn = torch.nn
        self.net = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))

    def on_train_start(self):
        self.began = self.trainer.global_step

    def training_step(self, batch, index):
        if self.lose and self.trainer.is_global_zero and self.trainer.global_step == 4:
            # A file where the store's directory was: every write is refused.
            os.rename(self.lose, self.lose + ".away")
            open(self.lose, "x").close()
            self.lose = ""
        # Some steps after the start of this execution, wait until all are asked to stop (or somebody kills us).
        while self.trainer.global_step == self.began + self.hold_after and attached().stop.limit == NEVER:
            time.sleep(0.01)
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.net(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)
"""


def a_plan(**changes: Any) -> WorkerPlan:
    fields: dict[str, Any] = {
        "rank": 0,
        "local_rank": 0,
        "world_size": 4,
        "local_world_size": 2,
        "node_rank": 0,
        "nodes": 2,
        "attempt": 1,
        "round": 0,
        "master_addr": "127.0.0.1",
        "master_port": 1,
        "threads": 1,
        "job_file": Path("/job.json"),
        "board": Path("/board"),
        "code_dir": Path("/code"),
        "run_dir": Path("/run/thunderhead"),
        "results_dir": Path("/results"),
    }
    return WorkerPlan(**(fields | changes))


def test_the_trainer_gets_what_is_written_and_its_own_defaults_else() -> None:
    spec = {
        "max_epochs": 3,
        "precision": None,
        "limit_val_batches": "1 batch",
        "gradient_clip_val": 0.5,
        "logger": [],
        "callbacks": [{"class_path": "collections.Counter", "init_args": {}}],
    }
    assert trainer_arguments(spec, a_plan()) == {
        "max_epochs": 3,
        "limit_val_batches": "1 batch",
        "gradient_clip_val": 0.5,
        "logger": False,
        "callbacks": [{}],
        "default_root_dir": "/results",
        "enable_progress_bar": False,
        "devices": 2,
        "num_nodes": 2,
    }


def test_a_callback_that_cannot_be_built_is_named_by_its_place() -> None:
    spec = {"callbacks": [{"class_path": "collections.Counter"}, {"class_path": "collections.Kounter"}]}
    with pytest.raises(InvalidConfiguration, match=r"spec\.trainer\.callbacks\[1\].*Did you mean 'Counter'"):
        trainer_arguments(spec, a_plan())


@pytest.fixture
def job(start: Start) -> Any:
    """Starts attempts of one job of two processes; keyword arguments replace parts of its spec."""
    code = start.directory / "code"
    code.mkdir()
    (code / "regression.py").write_text(CODE)

    def begin(attempt: int, *, store: str = "store", hold_after: int = -1, **changes: Any) -> Attempt:
        spec = {
            "command": "fit",
            "module": {"class_path": "regression.Regression", "init_args": {"hold_after": hold_after}},
            "datamodule": {"class_path": "regression.Data", "init_args": {}},
            # A ModelCheckpoint would remember its directory, which is another in each attempt here.
            "trainer": {"max_epochs": 3, "logger": [], "enable_checkpointing": False},
            "seed": 7,
            "checkpoint": {"uri": f"file://{start.directory}/{store}", "everySteps": 5},
        }
        return start(nodes=1, processes=2, attempt=attempt, **(spec | changes))

    return begin


def test_stopped_and_killed_attempts_end_in_the_bits_of_an_undisturbed_run(job: Any, start: Start) -> None:
    undisturbed = job(1, store="straight")
    assert undisturbed.wait() == [ExitCode.DONE], undisturbed.logs()

    stopped = job(2, hold_after=8)
    stopped.until(lambda: stopped.is_training() and stopped.nodes[0].status().step == 8)
    stopped.nodes[0].process.send_signal(signal.SIGTERM)
    assert stopped.wait() == [ExitCode.STOPPED], stopped.logs()
    record = stopped.nodes[0].record
    assert record.last_step == 9
    assert record.checkpoint is not None
    assert record.checkpoint.step == record.last_step
    assert record.checkpoint.uri.startswith(f"file://{start.directory}/store/team/digits/")

    killed = job(3, hold_after=8)
    killed.until(lambda: killed.is_training() and killed.nodes[0].status().step == 9 + 8)
    assert killed.nodes[0].status().first_step == 9
    os.kill(killed.nodes[0].worker(1), signal.SIGKILL)
    assert killed.wait() == [ExitCode.FAILED], killed.logs()

    finished = job(4)
    assert finished.wait() == [ExitCode.DONE], finished.logs()
    record = finished.nodes[0].record
    assert (record.outcome, record.last_step) == (Outcome.DONE, 36)
    assert record.first_step == 15
    assert newest_bits(start.directory / "store") == newest_bits(start.directory / "straight")


def test_a_store_that_is_away_costs_checkpoints_and_no_restart(job: Any, start: Start) -> None:
    """Skipped by both ranks, told, and made up for by a fresh checkpoint as soon as there is somewhere to put it."""
    store = start.directory / "store"
    arguments = {"hold_after": 6, "lose": str(store)}
    attempt = job(1, module={"class_path": "regression.Regression", "init_args": arguments})
    attempt.until(lambda: attempt.is_training() and attempt.nodes[0].status().step == 6)
    skipped = attempt.nodes[0].status().skipped_checkpoints
    assert skipped is not None
    assert (skipped.total, skipped.in_a_row) == (1, 1)
    assert "Not a directory" in (skipped.why or "")

    store.unlink()
    Path(f"{store}.away").rename(store)
    assert attempt.wait() == [ExitCode.DONE], attempt.logs()
    assert "the checkpoint of step 5 is skipped, training goes on" in attempt.logs()
    commits = sorted(int(path.parent.name) for path in store.rglob("steps/*/*.json"))
    assert commits[-1] == 36
    record = attempt.nodes[0].record
    assert (record.first_step, record.last_step) == (0, 36)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"module": {"class_path": "regression.Regression", "init_args": {"learning_rate": 1}}},
            "spec.module.init_args.learning_rate: Regression takes no argument 'learning_rate'",
        ),
        ({"trainer": {"max_epochs": 1, "precision": "bf17-mixed"}}, "bf17-mixed"),
    ],
)
def test_a_job_that_can_never_run_ends_with_the_reason(job: Any, changes: dict[str, Any], said: str) -> None:
    attempt = job(1, **changes)
    assert attempt.wait() == [ExitCode.INVALID_CONFIGURATION], attempt.logs()
    record = attempt.nodes[0].record
    assert record.outcome is Outcome.INVALID_CONFIGURATION
    assert record.culprit is not None
    assert said in (record.culprit.message or "")
    assert record.checkpoint is None


def test_attempts_go_on_in_the_files_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not in those of a place that other jobs may write to as well."""
    results, shared = tmp_path / "results", tmp_path / "volume"
    results.mkdir()
    monkeypatch.chdir(results)
    for taken in (results, results / "relative", shared):
        (taken / "lightning_logs/version_0").mkdir(parents=True)
    loggers = [
        CSVLogger(results),
        TensorBoardLogger(results),
        CSVLogger("relative"),
        CSVLogger(results, name="own", version="mine"),
        CSVLogger(shared),
        CSVLogger(results),
    ]
    go_on_in_files([*loggers, object()], results)
    assert [logger.version for logger in loggers] == [0, 0, 0, "mine", 1, 1]


class ServiceStub(ServiceLogger):
    """Notes whose it is."""

    name = version = None

    def __init__(self) -> None:
        super().__init__("stub", "", False)

    def _send(self, *told: object) -> None: ...
    def _send_parameters(self, params: dict[str, object]) -> None: ...
    def _send_file(self, *told: object) -> None: ...
    def _end(self, status: str) -> None: ...
    def _found(self) -> tuple[int, None]:
        return 0, None


def test_loggers_of_services_belong_to_the_job_in_every_attempt(make_job: Callable[..., FrozenJob]) -> None:
    named = []
    for attempt in (1, 2):
        loggers = [ServiceStub(), ServiceStub(), object()]
        job = make_job(name="digits", uid="0123456789abcdef", attempt=attempt)
        go_on_in_runs(loggers, job)
        named.append([(logger._job, logger._settings) for logger in loggers[:2]])  # type: ignore[attr-defined]
    assert named[0] == named[1] == [("digits-01234567", job.spec_hash), ("digits-01234567-1", job.spec_hash)]
