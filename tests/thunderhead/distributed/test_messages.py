"""What ranks tell each other besides tensors: JSON, and objects that are read only if a rank has sent them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from trainer_line import Line, numbers
from trainer_models import QUIET
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead.distributed.messages import ObjectSeal, broadcast_bytes, gather_bytes
from thunderhead.distributed.strategy import DDPStrategy

CPU = torch.device("cpu")


class Bomb:
    """Makes a directory where it is unpickled."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __reduce__(self) -> Any:
        return os.mkdir, (self.where,)


class OneKey:
    """A store that holds what was set first."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        return self.held.setdefault(key, desired).encode()


def test_an_object_comes_back_for_its_purpose_alone() -> None:
    store = OneKey()
    ours, theirs = ObjectSeal(store), ObjectSeal(store)
    packed = ours.pack({"a": (1, {2})}, "object of rank 1")
    assert theirs.unpack(packed, "object of rank 1") == {"a": (1, {2})}
    with pytest.raises(RuntimeError, match=r"\(object of rank 0\) came over the network that no rank"):
        theirs.unpack(packed, "object of rank 0")


@pytest.mark.parametrize("forge", ["bare", "mac of zeros", "mac of another", "another key"])
def test_a_pickle_that_no_rank_has_sent_is_not_read(forge: str, tmp_path: Path) -> None:
    store = OneKey()
    seal, bomb = ObjectSeal(store), Bomb(str(tmp_path / "ran"))
    pickled = pickle.dumps(bomb)
    data = {
        "bare": pickled,
        "mac of zeros": bytes(32) + pickled,
        "mac of another": seal.pack("harmless", "p")[:32] + pickled,
        "another key": ObjectSeal(OneKey()).pack(bomb, "p"),
    }[forge]
    with pytest.raises(RuntimeError, match="was not read"):
        seal.unpack(data, "p")
    assert list(tmp_path.iterdir()) == []


def _exchange(rank: int) -> dict[str, Any]:
    """Every way to tell something, with values that differ by rank in kind and size."""
    strategy = th.Trainer(**QUIET).strategy
    assert isinstance(strategy, DDPStrategy)
    mine = {"rank": rank, "long": "x" * (10_000 * rank), "nan": float("inf")}
    return {
        "bytes": broadcast_bytes(b"from one" if rank == 1 else b"", 1, CPU),
        "gathered": gather_bytes(b"!" * (1 + 5000 * rank), CPU),
        "on first": gather_bytes(bytes([65 + rank]), CPU, on_first=True),
        "told": strategy.tell(mine, 1),
        "words": strategy.gather_words([rank, None, "é"]),
        "objects": strategy.gather_objects({rank, "set"}),
        "object": strategy.broadcast({rank}, 1),
        "on rank 0": strategy.gather_on_first((rank,)),
    }


def test_what_is_told_arrives_as_it_was(tmp_path: Path) -> None:
    zero, one = run_ranks(_exchange, 2, tmp_path)
    assert (zero.pop("on first"), one.pop("on first")) == ([b"A", b"B"], [])
    assert (zero.pop("on rank 0"), one.pop("on rank 0")) == ([(0,), (1,)], [])
    assert zero == one
    assert zero == {
        "bytes": b"from one",
        "gathered": [b"!", b"!" * 5001],
        "told": {"rank": 1, "long": "x" * 10_000, "nan": float("inf")},
        "words": [[0, None, "é"], [1, None, "é"]],
        "objects": [{0, "set"}, {1, "set"}],
        "object": {1},
    }


class Scored(Line):
    """Logs what ModelCheckpoint monitors."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", batch[0].float().mean().to(torch.float64), sync_dist=True)


def _fit_without_pickles(rank: int, directory: str) -> tuple[str, str, float]:
    """A fit with everything on that asks other ranks; no object may be read on the way."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the trainer's own words need no pickle")

    for name in ("broadcast_object_list", "all_gather_object", "gather_object"):
        setattr(dist, name, refuse)
    DDPStrategy.broadcast = DDPStrategy.gather_objects = refuse  # type: ignore[method-assign]
    saving = th.callbacks.ModelCheckpoint(directory, monitor="score", save_weights_only=True)
    trainer = th.Trainer(
        **{**QUIET, "enable_checkpointing": None, "max_epochs": 2},
        callbacks=[saving, th.callbacks.Timer("00:01:00:00", interval="epoch")],
    )
    trainer.fit(Scored(), numbers(*range(8)), numbers(1, 2))
    best = saving.best_model_score
    assert best is not None
    return trainer.log_dir or "", str(best.dtype), float(best)


def test_a_fit_tells_its_own_things_without_objects(tmp_path: Path) -> None:
    zero, one = run_ranks(_fit_without_pickles, 2, tmp_path, str(tmp_path / "files"))
    assert zero == one
