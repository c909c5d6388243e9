"""SIGTERM on one rank's node, through the agent's own link: all ranks commit one step, and what resumes it is the bits.

Agreement, exchange and checkpoint store are the real ones; only the process that passes the signal on is not.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore
from trainer_logging import Records
from trainer_models import QUIET, Net, Noisy, bits, in_order, regression, shuffled
from trainer_ranks import run_ranks
from trainer_stops import Events, flat

import thunderhead as th
from thunderhead import job
from thunderhead.job.board import Board, Word
from thunderhead.job.errors import Stopped
from thunderhead.job.stop import NEVER
from thunderhead_agent.link import AgentLink, job_link
from thunderhead_agent.plan import WorkerPlan
from thunderhead_api.messages import FrozenJob

# Six batches per rank and epoch in windows of four, validated after the third and the last; three validation batches
# on rank 0, two on rank 1.
EPOCHS, WINDOW, STEPS = 2, 4, 4


@contextmanager
def agent_link(rank: int, attempt: int, directory: Path) -> Iterator[AgentLink]:
    """The link that an agent's worker has; SIGTERM writes what the agent of this node would write."""
    world = dist.get_world_size()
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if rank == 0 else None
    port = [server.port if server is not None else 0]
    dist.broadcast_object_list(port, 0)
    frozen = FrozenJob(
        namespace="team",
        name="digits",
        uid="u",
        attempt=attempt,
        nodes=world,
        processes_per_node=1,
        spec_hash="h",
        spec={"checkpoint": {"uri": f"file://{directory}/store"}},
    )
    plan = WorkerPlan(
        rank=rank,
        local_rank=0,
        world_size=world,
        local_world_size=1,
        node_rank=rank,
        nodes=world,
        attempt=attempt,
        round=0,
        master_addr="127.0.0.1",
        master_port=port[0],
        threads=1,
        job_file=directory / "job.json",
        board=directory / f"board-{rank}",
        code_dir=directory,
        run_dir=directory,
        results_dir=directory,
    )
    board = Board.create(plan.board)
    before = signal.signal(signal.SIGTERM, lambda *_: board.words.__setitem__(Word.STOP, 1))
    store = TCPStore("127.0.0.1", port[0], is_master=False, wait_for_workers=False)
    try:
        with job_link(frozen, plan, board, PrefixStore(plan.store_prefix, store)) as link:
            yield link
        dist.barrier()  # the server's process must not leave first
    finally:
        signal.signal(signal.SIGTERM, before)


def train(rank: int, attempt: int, directory: Path, moment: str, terminate: bool = False) -> dict[str, Any]:
    """One attempt, as new processes would make it: seed, build, fit."""
    with agent_link(rank, attempt, directory) as link:
        job.attach(link)
        th.seed_everything(3, verbose=False)
        module, events, records = (
            Net(),
            Events(moment, lambda _: link.stop.limit != NEVER, terminate=terminate),
            Records(),
        )
        torch.manual_seed(100 + rank)
        arguments = {"accumulate_grad_batches": WINDOW, "val_check_interval": 3, "log_every_n_steps": 1}
        trainer = th.Trainer(**{**QUIET, "logger": [records]}, max_epochs=EPOCHS, **arguments, callbacks=[events])
        stopped = ""
        try:
            trainer.fit(module, shuffled(Noisy(44), batch_size=4), in_order(regression(21, seed=8), batch_size=5))
        except Stopped as error:
            stopped = str(error)
        job.attach(None)
        return {
            "stopped": stopped,
            "step": trainer.global_step,
            "committed": link.board.words[Word.COMMITTED_STEP],
            "batches": events.batches,
            "records": records.seen,
            "weights": bits(module),
            "optimizer": flat(trainer.optimizers[0].state_dict()),
            "metrics": {name: value.item() for name, value in trainer.callback_metrics.items()},
            "random": torch.get_rng_state().numpy().tobytes(),
        }


# At which moment it comes; the step that all commit, None for a run that has no step left to stop after.
MOMENTS: dict[str, int | None] = {
    "sanity.0": 0,
    "batch 0.0": 1,  # inside a window
    "batch 0.3": 1,  # at its end
    "validation after 0.0": 1,  # inside a window there is nothing to commit: the validation ends, then the window
    "validation after 2.0": 2,
    "validation after 2.1": 2,  # after rank 1's last batch
    "epoch 0 ends": 2,
    "epoch 1 begins": 2,
    "batch 1.4": 4,  # inside the epoch's last, short window
    "validation after 4.0": 4,  # the last of the run
    "epoch 1 ends": None,
}


def _compare(rank: int, directory: str, signalled: int, together: bool) -> dict[str, Any]:
    """By moment: where this rank ended, and what differs from the undisturbed run once it has been resumed."""
    whole = train(rank, 1, Path(directory) / "whole", "")
    found: dict[str, Any] = {}
    for number, moment in enumerate(MOMENTS):
        place = Path(directory) / str(number)
        waits = together or rank == signalled
        first = train(rank, 1, place, moment if waits else "", rank == signalled)
        last = train(rank, 2, place, "") if first["stopped"] else first
        differ = [name for name in ("weights", "optimizer", "metrics", "random", "step") if last[name] != whole[name]]
        if first["stopped"]:
            differ += [name for name in ("batches", "records") if first[name] + last[name] != whole[name]]
        found[moment] = (first["stopped"], first["step"], first["committed"], differ)
    return found


@pytest.mark.parametrize(("signalled", "together"), [(0, True), (1, False)], ids=["rank 0", "rank 1, the other ahead"])
def test_all_commit_one_step_and_the_resumed_run_is_the_undisturbed_one(
    tmp_path: Path, signalled: int, together: bool
) -> None:
    for name in ("whole", *map(str, range(len(MOMENTS)))):
        (tmp_path / name).mkdir()
    ranks = run_ranks(_compare, 2, tmp_path, str(tmp_path), signalled, together)
    for moment, expected in MOMENTS.items():
        (stopped, step, committed, differ), other = (found[moment] for found in ranks)
        assert other == (stopped, step, committed, differ), moment
        assert differ == [], moment
        assert committed == step, moment
        wanted = STEPS if expected is None else expected
        # A rank that does not wait may be in the next step by then, which all finish.
        assert step in ((wanted,) if together else (wanted, wanted + 1)), moment
        ended = "" if expected is None else f"stopped as asked, after step {step}; its checkpoint is committed"
        assert stopped == ended or (not together and step == STEPS), moment
