"""The job that a worker's trainer reports to: the agent's own link, with its page, stop thread, store and curves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thunderhead import job
from thunderhead.job.board import Board, Word
from thunderhead.job.link import CheckpointPolicy
from thunderhead.job.stop import StopAgreement
from thunderhead.store import CheckpointSettings, Execution, JobAddress, open_job_checkpoints
from thunderhead_agent.curve_file import FILE, CurveFile
from thunderhead_agent.link import AgentLink


@contextmanager
def inside_a_job(folder: Path) -> Iterator[Board]:
    """Trainers made within this context run as in a job of one worker; the board they write to."""
    board = Board.create(folder / "board")
    stop = StopAgreement(asked=lambda: board.words[Word.STOP] != 0)
    checkpoints = open_job_checkpoints(
        JobAddress(uri=(folder / "store").as_uri(), namespace="bench", name="bench", uid="bench"),
        CheckpointSettings(execution=Execution(1)),
    )
    policy = CheckpointPolicy(every_seconds=3600.0)
    curves = CurveFile(folder / FILE)
    job.attach(AgentLink(board=board, checkpoints=checkpoints, policy=policy, stop=stop, curves=curves))
    stop.start()
    try:
        yield board
    finally:
        stop.close()
        curves.close()
        job.attach(None)
