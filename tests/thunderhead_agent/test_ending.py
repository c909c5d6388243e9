"""What a worker's end is called: from its own statement, or from how the process died."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thunderhead.job.board import Board
from thunderhead.job.errors import InvalidConfiguration, StorageUnavailable
from thunderhead_agent.ending import (
    FORKSERVER_DIED,
    Ending,
    Whereabouts,
    concluded,
    failure,
    from_exception,
    is_symptom,
)
from thunderhead_agent.plan import WorkerPlan
from thunderhead_agent.verdict import CAUSE, SYMPTOM, UNCLEAR
from thunderhead_agent.worker import execute
from thunderhead_api.treaty import Outcome

WHERE = Whereabouts(rank=3, node_rank=1, pod="digits-1-1", node="worker-b")


class DistBackendError(RuntimeError):
    """Named like torch's, which is matched by name so that the agent need not import torch."""


def chained(inner: BaseException) -> BaseException:
    try:
        try:
            raise inner
        except type(inner) as error:
            raise RuntimeError("training step failed") from error
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("[/gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.7]:4483"), True),
        (RuntimeError("[/gloo/transport/tcp/pair.cc:537] Read error [10.0.0.7]:1: Connection reset by peer"), True),
        (RuntimeError("Gloo: Timed out waiting 1800000ms for recv operation to complete"), True),
        (DistBackendError("NCCL error: remote process exited or there was a network error"), True),
        (chained(DistBackendError("anything")), True),
        (RuntimeError("shape mismatch in my store of tensors"), False),
        (ConnectionResetError("Connection reset by peer"), False),
        (RuntimeError("my database said: Connection reset by peer"), False),
        (ValueError("gloo: connection closed by peer"), False),
    ],
)
def test_only_what_the_process_group_says_of_peers_is_a_symptom(error: BaseException, expected: bool) -> None:
    assert is_symptom(error) is expected


@pytest.mark.parametrize(
    "said",
    [
        "PutObject of s3://b/k at http://s3:9: Connection reset by peer; no answer for 180 s. Correct the address",
        "read of file:///store/k failed: timed out waiting",
    ],
)
def test_a_store_that_does_not_answer_is_one_line_and_no_fault_of_a_peer(said: str) -> None:
    ending = from_exception(StorageUnavailable(said), outcome=Outcome.FAILED, step=7)
    assert ending == Ending(outcome=Outcome.FAILED, reason="StorageUnavailable", message=said, step=7, exit_code=1)


def a_plan_of(entry: str, directory: Path) -> WorkerPlan:
    places = dict.fromkeys(("job_file", "board", "code_dir", "run_dir", "results_dir"), directory)
    numbers = dict.fromkeys(("rank", "local_rank", "node_rank", "round"), 0)
    ones = dict.fromkeys(("world_size", "local_world_size", "nodes", "attempt", "master_port", "threads"), 1)
    return WorkerPlan(**places, **numbers, **ones, master_addr="127.0.0.1", entry=entry)


def away(plan: WorkerPlan, board: Board) -> Outcome:
    try:
        raise ConnectionError("refused")
    except ConnectionError as error:
        raise StorageUnavailable("the store does not answer; bring it back") from error


def test_a_worker_prints_it_as_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = Board.create(tmp_path / "board")
    ending = execute(a_plan_of(f"{__name__}:away", tmp_path), board)
    board.close()
    assert ending.outcome is Outcome.FAILED
    assert capsys.readouterr().err == "Failed: the store does not answer; bring it back\n"


@pytest.mark.parametrize(
    ("code", "exit_code"), [(0, 0), (75, 75), (None, 0), ("out of luck", 1), (256 + 3, 3), (-1, 255)]
)
def test_sys_exit_is_a_failure_with_that_code(code: object, exit_code: int) -> None:
    ending = from_exception(SystemExit(code), outcome=Outcome.FAILED, step=7)
    assert ending == Ending(
        outcome=Outcome.FAILED, reason="SystemExit", message=ending.message, step=7, exit_code=exit_code
    )
    assert ending.message is not None
    assert ("out of luck" in ending.message) is (code == "out of luck")


def test_an_exception_is_told_with_the_end_of_its_traceback_and_bounded() -> None:
    def deep(n: int) -> None:
        if n == 0:
            raise ValueError("x" * 10_000)
        deep(n - 1)

    with pytest.raises(ValueError, match="x") as caught:
        deep(50)
    ending = from_exception(caught.value, outcome=Outcome.FAILED, step=1)
    assert (ending.reason, ending.exit_code, ending.symptom) == ("ValueError", 1, False)
    assert ending.message is not None
    assert ending.message.startswith("ValueError: xxx")
    assert 'raise ValueError("x" * 10_000)' in ending.message
    assert len(ending.message.encode()) < 4096


class Mute(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "error", [Mute(), ValueError("\udcff broken text"), ValueError("🏖" * 5000), SystemExit("é" * 9000)]
)
def test_whatever_the_exception_says_it_fits_the_board(tmp_path: Path, error: BaseException) -> None:
    ending = from_exception(error, outcome=Outcome.FAILED, step=1)
    board = Board.create(tmp_path / "board")
    board.publish_outcome(ending.to_json())
    stated = board.outcome()
    assert stated is not None
    report = failure(Ending.from_json(stated), 0, WHERE)
    assert report.culprit.reason == type(error).__name__
    assert report.model_dump_json()


def test_an_exception_of_ours_is_told_in_its_own_words() -> None:
    ending = from_exception(InvalidConfiguration("spec.module: no"), outcome=Outcome.INVALID_CONFIGURATION, step=0)
    assert (ending.reason, ending.message) == ("InvalidConfiguration", "spec.module: no")


def test_a_statement_survives_the_board() -> None:
    ending = Ending(outcome=Outcome.STORAGE_REFUSED, reason="StorageRefused", message="denied", step=3)
    assert Ending.from_json(json.loads(json.dumps(ending.to_json()))) == ending


@pytest.mark.parametrize(
    ("exit_code", "oom", "reason", "signal", "code", "weight"),
    [
        pytest.param(-9, False, "SIGKILL", "SIGKILL", None, CAUSE, id="killed"),
        pytest.param(-9, True, "OutOfMemory", "SIGKILL", None, CAUSE, id="killed for want of memory"),
        pytest.param(-11, True, "SIGSEGV", "SIGSEGV", None, CAUSE, id="a segfault beside another's memory kill"),
        pytest.param(-6, False, "SIGABRT", "SIGABRT", None, UNCLEAR, id="aborted, perhaps by a watchdog"),
        pytest.param(-40, False, "SIG40", "SIG40", None, CAUSE, id="a real-time signal"),
        pytest.param(78, False, "Exit", None, 78, CAUSE, id="os._exit with one of our codes"),
        pytest.param(0, False, "Exit", None, 0, CAUSE, id="os._exit(0) in the middle"),
        pytest.param(FORKSERVER_DIED, False, "ForkServerDied", None, None, CAUSE, id="fork server gone"),
        pytest.param(FORKSERVER_DIED, True, "OutOfMemory", None, None, CAUSE, id="fork server killed for memory"),
    ],
)
def test_a_death_without_a_statement(
    exit_code: int, oom: bool, reason: str, signal: str | None, code: int | None, weight: int
) -> None:
    ending = concluded(None, exit_code, out_of_memory=oom, step=12)
    report = failure(ending, exit_code, WHERE)
    culprit = report.culprit
    assert (culprit.reason, culprit.signal, culprit.exit_code) == (reason, signal, code)
    assert (report.outcome, report.weight) == (Outcome.FAILED, weight)
    assert (culprit.rank, culprit.node_rank, culprit.pod, culprit.node, culprit.step) == (
        3,
        1,
        "digits-1-1",
        "worker-b",
        12,
    )


def test_a_statement_stands_however_the_process_went_afterwards() -> None:
    stated = Ending(outcome=Outcome.FAILED, reason="RuntimeError", message="gone", symptom=True)
    ending = concluded(stated, -9, out_of_memory=True, step=1)
    report = failure(ending, -9, WHERE)
    assert (report.weight, report.culprit.reason, report.culprit.signal) == (SYMPTOM, "RuntimeError", None)


def test_a_loader_process_killed_for_want_of_memory_is_out_of_memory() -> None:
    said = "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed."
    stated = Ending(outcome=Outcome.FAILED, reason="RuntimeError", message=said)
    assert concluded(stated, 0, out_of_memory=True, step=1).reason == "OutOfMemory"
    assert concluded(stated, 0, out_of_memory=False, step=1).reason == "RuntimeError"
