"""A job in memory: checkpoints that survive their trainer, as bytes, and a stop at a chosen moment."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from thunderhead.callbacks import Callback
from thunderhead.job.board import Board
from thunderhead.job.link import Ask, CheckpointPolicy, Restored, Skipped
from thunderhead.job.parts import Kind, Parts
from thunderhead.job.stop import NEVER
from thunderhead.store.codec import decode, encode
from thunderhead.store.shards import layout_of, read_shard, write_shard


class MemoryCheckpoints:
    """Commits kept in memory; a save copies, as staging does.

    Attributes:
        commits: what was saved, by step.
        away: steps whose save the store does not take, once.
        finite: whether every loss so far and every parameter was said to be a number, by step.
        elsewhere: the earliest step that any rank found otherwise, where another one did, by step of the save.
        non_finite_step: see the protocol.
        patience: how long each save was to be tried, by step.
    """

    def __init__(self, commits: dict[int, Parts] | None = None) -> None:
        self.commits = {} if commits is None else commits
        self.away: set[int] = set()
        self.patience: dict[int, float] = {}
        self.finite: dict[int, bool] = {}
        self.elsewhere: dict[int, int] = {}
        self.non_finite_step: int | None = None
        self.skipped = 0
        self.closed = 0

    def open(self) -> Restored | None:
        """The newest commit."""
        if not self.commits:
            return None
        step = max(self.commits)
        return Restored(step=step, parts=copy.deepcopy(self.commits[step]), uri=f"memory:{step}")

    def check(self, parts: Parts) -> None:
        """As strict as the real one."""
        for part in parts.values():
            assert part.kind is not Kind.SHARDED
            encode(part.tree)

    def save(
        self,
        parts: Parts,
        *,
        step: int,
        position: Mapping[str, Any],
        patience_s: float = 0.0,
        non_finite_step: int | None = None,
    ) -> Skipped | None:
        """Commit what the real one would read back, unless it is the turn of one that the store does not take."""
        assert step not in self.commits, f"step {step} is committed twice"
        self.patience[step] = patience_s
        self.finite[step] = non_finite_step is None
        self.non_finite_step = self.elsewhere.get(step, non_finite_step)
        if step in self.away:
            self.away.discard(step)
            self.skipped += 1
            return Skipped(step=step, why="the store is away", in_a_row=self.skipped)
        self.skipped = 0
        self.commits[step] = {name: replace(part, tree=through_bytes(part.tree)) for name, part in parts.items()}
        return None

    def close(self) -> None:
        """Nothing waits."""
        self.closed += 1


class StopAt:
    """A stop control that was agreed on beforehand."""

    def __init__(self, tick: int = NEVER, ask: Ask = Ask.STOP) -> None:
        self.running = 0
        self.limit = tick
        self.ask = ask
        self.requested: list[Ask] = []

    def resolve(self, tick: int) -> Ask | None:
        """The agreed moment has come."""
        assert tick >= self.limit
        self.limit = NEVER
        return self.ask

    def request(self, ask: Ask) -> None:
        """Keep what was asked for."""
        self.requested.append(ask)


class MemoryLink:
    """A job of one process."""

    def __init__(
        self,
        directory: Path,
        commits: dict[int, Parts] | None = None,
        *,
        stop: Any = None,
        policy: CheckpointPolicy | None = None,
        curves: Any = None,
    ) -> None:
        self.curves = curves
        self.board = Board.create(directory / "board")
        self.checkpoints = MemoryCheckpoints(commits)
        self.policy = policy or CheckpointPolicy()
        self.stop = stop or StopAt()


class Losses(Callback):
    """The loss of every batch, by optimizer step, to the bit.

    Args:
        die: called after each batch with the trainer; raise to crash there.
    """

    def __init__(self, die: Callable[[Any], None] = lambda trainer: None) -> None:
        self.seen: list[tuple[int, int, str]] = []
        self._die = die

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep it."""
        self.seen.append((trainer.current_epoch, batch_idx, float(outputs["loss"]).hex()))
        self._die(trainer)


def through_bytes(tree: Any) -> Any:
    """Encode, write as a shard, read back, decode."""
    encoded = encode(tree)
    layout = layout_of(encoded.tensors, {"tree": json.dumps(encoded.skeleton, allow_nan=False)})
    buffer = torch.zeros(layout.size, dtype=torch.uint8)
    write_shard(layout, list(encoded.tensors.values()), buffer)
    content = read_shard(bytearray(buffer.numpy().tobytes()), "shard")
    return decode(json.loads(content.metadata["tree"]), content.tensors)
