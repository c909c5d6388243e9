"""What workers run in tests: small stand-ins for training, through the same seam. Named by tests, never imported."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

import torch
import torch.distributed as dist

from thunderhead.job.board import Board, Phase, Word
from thunderhead.job.errors import InvalidConfiguration, Stopped, StorageRefused, Superseded
from thunderhead_agent.plan import WorkerPlan
from thunderhead_agent.process_group import process_group
from thunderhead_api.treaty import Outcome


def _trainlike(plan: WorkerPlan, board: Board, *, steps: int = 10_000, at_step: int = 5) -> Outcome:
    """Steps of one all-reduce each; at ``at_step`` the rank named by the environment does what the environment says."""
    fault, _, who = os.environ.get("TEST_FAULT", "").partition("@")
    with process_group(plan, "cpu"):
        words = board.words
        words[Word.FIRST_STEP], words[Word.MAX_STEPS], words[Word.PHASE] = 0, steps, Phase.TRAIN
        for step in range(1, steps + 1):
            if step == at_step and fault and str(plan.rank) in who.split(","):
                _FAULTS[fault]()
            value = torch.tensor([float(plan.rank), float(words[Word.STOP])])
            dist.all_reduce(value)
            assert value[0] == sum(range(plan.world_size))
            words[Word.STEP], words[Word.STEP_NS], words[Word.BEAT_NS] = step, 1_000_000, time.monotonic_ns()
            words[Word.TRAINING_NS] += 1_000_000
            board.publish_metrics({"loss": 1.0 / step, "bad": float("nan")})
            if value[1] > 0:
                board.publish_commit(step=step, uri=f"file:///store/{step}", at=time.time())
                raise Stopped(f"stopped after step {step}")
            time.sleep(0.02)
    return Outcome.DONE


def short(plan: WorkerPlan, board: Board) -> Outcome:
    """Ten steps."""
    print(f"hello from rank {plan.rank} of {plan.world_size}")
    return _trainlike(plan, board, steps=10, at_step=5)


def endless(plan: WorkerPlan, board: Board) -> Outcome:
    """Until stopped."""
    return _trainlike(plan, board)


def deaf(plan: WorkerPlan, board: Board) -> Outcome:
    """Never looks at STOP."""
    board.words[Word.PHASE] = Phase.TRAIN
    while True:
        time.sleep(0.05)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise() -> None:
    raise ValueError("the loss is a banana")


def _exit() -> None:
    sys.exit(75)


def _hard_exit() -> None:
    os._exit(78)


def _segfault() -> None:
    ctypes.string_at(0)


def _invalid() -> None:
    raise InvalidConfiguration("no such thing")


def _superseded() -> None:
    raise Superseded("attempt 9 has claimed the job")


def _refused() -> None:
    raise StorageRefused("access denied")


def _oom() -> None:
    """The kernel's count first, then the kill, in the kernel's order."""
    with open(os.environ["TEST_OOM_FILE"], "w") as file:
        file.write("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n")
    _kill()


def _orphan() -> None:
    """A process in a session of its own, which no signal to the rank's group reaches."""
    sleeper = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with open(os.environ["TEST_ORPHAN_FILE"], "w") as file:
        file.write(str(sleeper.pid))
    _kill()


_FAULTS = {
    "orphan": _orphan,
    "kill": _kill,
    "raise": _raise,
    "exit": _exit,
    "hard_exit": _hard_exit,
    "segfault": _segfault,
    "invalid": _invalid,
    "superseded": _superseded,
    "refused": _refused,
    "oom": _oom,
}
