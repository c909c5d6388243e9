"""The end of a run: exit code and table."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from thunderhead_api.job_exit import exit_code
from thunderhead_api.messages import CommittedCheckpoint, Culprit
from thunderhead_api.status import Condition, Goodput, LedgerEntry, Progress, Recovery, RestartCounts, TrainingJobStatus
from thunderhead_api.time_spent import time_spent
from thunderhead_api.treaty import Cause
from thunderhead_cli.local.results import Result
from thunderhead_cli.local.summary import Places, print_summary, summary

T = "2026-01-01T00:00:00Z"


PLACES = Places(
    checkpoint_uri="file:///runs/c",
    pods_dir="/runs/pods",
    results_dir="/runs/results",
    results=[
        Result("metrics file", "/runs/results/lightning_logs/version_0/metrics.csv"),
        Result("best .ckpt", "/runs/results/best.ckpt", "val_acc=0.9917"),
    ],
)


def condition(type_: str) -> Condition:
    return Condition(
        type=type_, status="True", observed_generation=1, last_transition_time=T, reason="Why", message="because"
    )


def entry(attempt: int, cause: Cause) -> LedgerEntry:
    return LedgerEntry(
        attempt=attempt,
        cause=cause,
        free=cause is Cause.SUSPENDED,
        culprit=None if cause is Cause.COMPLETED else Culprit(rank=2, pod=f"digits-{attempt}-1", signal="SIGKILL"),
        started_at=T,
        ended_at=T,
        first_step=0 if attempt == 1 else 220,
        last_step=230 if attempt == 1 else 460,
        seconds_lost=4.25 if attempt == 1 else None,
    )


@pytest.mark.parametrize(
    ("conditions", "cause", "code"),
    [
        (["Complete"], Cause.COMPLETED, 0),
        (["Failed"], Cause.PROCESS_FAILED, 1),
        (["Failed"], Cause.INVALID_CONFIGURATION, 78),
        (["Failed"], Cause.STORAGE_REFUSED, 77),
        (["Suspended"], Cause.SUSPENDED, 75),
        (["Running"], Cause.PROCESS_FAILED, 130),
        ([], None, 130),
    ],
)
def test_exit_code_mirrors_the_job(conditions: list[str], cause: Cause | None, code: int) -> None:
    ledger = [entry(1, Cause.HUNG), entry(2, cause)] if cause else []
    assert exit_code(TrainingJobStatus(conditions=[condition(c) for c in conditions], ledger=ledger)) == code


def test_what_was_killed_has_not_stopped() -> None:
    status = TrainingJobStatus(conditions=[condition("Suspended")], ledger=[entry(1, Cause.SUSPENDED)])
    assert exit_code(status, killed=True) == 130
    out = io.StringIO()
    print_summary(Console(file=out), summary("digits", status, PLACES, killed=True))
    assert "Cut off; the same command continues from the newest checkpoint" in out.getvalue()


def test_table_says_what_it_cost() -> None:
    status = TrainingJobStatus(
        conditions=[condition("Complete")],
        ledger=[entry(1, Cause.PROCESS_KILLED), entry(2, Cause.COMPLETED)],
        restarts=RestartCounts(charged=1, total=1),
        last_recovery=Recovery(cause=Cause.PROCESS_KILLED, detected_at=T, resumed_at=T, seconds=4.25, steps_lost=10),
        goodput=Goodput(
            training_seconds=30,
            wall_seconds=40,
            ratio_percent=75,
            time=time_spent(counted=30, recovering=10, queued=0.4),
        ),
        checkpoint=CommittedCheckpoint(uri="file:///runs/c/steps/460", step=460, committed_at=T),
        progress=Progress(updated_at=T, metrics={"val_acc": 0.9917}),
    )
    out = io.StringIO()
    console = Console(file=out)
    print_summary(console, summary("digits", status, PLACES))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    for expected in (
        "1 ProcessKilled charged rank 2, digits-1-1, SIGKILL 0 230 4.2",
        "2 Completed 220 460",
        "outcome Complete",
        "restarts 1 charged, 0 free",
        "steps lost 10",
        "goodput 75 % (of 0:40 wanted to run)",
        "time 0:30 in steps that counted, 0:10 recovering",
        "checkpoints file:///runs/c",
        f"newest step 460, committed {T}",
        "metrics val_acc=0.9917",
        "results /runs/results",
        "metrics file /runs/results/lightning_logs/version_0/metrics.csv",
        "best .ckpt /runs/results/best.ckpt (val_acc=0.9917)",
        "pods' logs /runs/pods",
    ):
        assert expected in lines
    assert any(line.startswith("seconds to recover 4.2 ") for line in lines)


def test_table_of_a_job_without_a_step_says_so() -> None:
    spent = Goodput(wall_seconds=12, ratio_percent=0, time=time_spent(starting=5, other=7))
    out = io.StringIO()
    status = TrainingJobStatus(conditions=[condition("Failed")], ledger=[entry(1, Cause.PROCESS_FAILED)], goodput=spent)
    print_summary(Console(file=out), summary("d", status, PLACES))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert "goodput none: no step was done (of 0:12 wanted to run)" in lines
    assert "time 0:05 starting, 0:07 until its end" in lines


def test_table_of_a_job_that_never_ran_has_no_empty_promises() -> None:
    out = io.StringIO()
    print_summary(Console(file=out), summary("d", TrainingJobStatus(), PLACES))
    assert "goodput" not in out.getvalue()
    assert "Cut off" in out.getvalue()
