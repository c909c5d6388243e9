"""A job of several ranks, each a thread, over a real store; and what it saves."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from thunderhead.job.link import JobCheckpoints, Restored
from thunderhead.job.parts import LOCAL, REPLICATED, Parts, parts_of
from thunderhead.store import CheckpointSettings, Execution, JobAddress, open_job_checkpoints, open_store
from thunderhead.store.exchange import LocalExchange
from thunderhead.store.job_checkpoints import ExecutionCheckpoints


class Job:
    """A job of one or more ranks, each a thread, over a real store."""

    def __init__(self, uri: str, endpoint: str | None = None, uid: str = "uid-1", **settings: Any) -> None:
        self.uri = uri
        self.endpoint = endpoint
        self.uid = uid
        self.settings = settings
        self.commits: list[tuple[int, int, str, float]] = []

    @property
    def address(self) -> JobAddress:
        return JobAddress(uri=self.uri, namespace="namespace", name="job", uid=self.uid, endpoint=self.endpoint)

    @property
    def root(self) -> str:
        return f"{self.uri}/namespace/job/{self.uid}"

    def attempt(
        self, attempt: int, world_size: int, live: Callable[[ExecutionCheckpoints, int], Any], **settings: Any
    ) -> list[Any]:
        """Run ``live`` on every rank; its results by rank, or the exception each ended with."""
        exchange = LocalExchange()

        def rank(number: int) -> Any:
            chosen = {**self.settings, **settings}
            checkpoints = open_job_checkpoints(
                self.address,
                CheckpointSettings(
                    **{
                        "execution": Execution(attempt, chosen.pop("round", 0)),
                        "rank": number,
                        "world_size": world_size,
                        "peer_timeout_s": 60,
                        **chosen,
                    }
                ),
                exchange=exchange,
                on_commit=lambda *commit: self.commits.append((number, *commit)),
                clock=lambda: 1000.0 + attempt,
            )
            try:
                return live(checkpoints, number)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                return error

        with ThreadPoolExecutor(world_size) as pool:
            return list(pool.map(rank, range(world_size)))


def parts(step: int, rank: int) -> Parts:
    """What a trainer saves: alike on all ranks, and a rank's own."""
    random_numbers = torch.Generator().manual_seed(step)
    weight = torch.randn(40, 50, generator=random_numbers)
    replicated = {
        "module": {
            "weight": weight,
            "tied": weight,
            "bias": torch.randn(50, generator=random_numbers).to(torch.bfloat16),
            "none": torch.empty(0),
        },
        "optimizer": {
            "state": {0: {"step": torch.tensor(float(step)), "moment": torch.randn(40, 50, generator=random_numbers)}},
            "groups": [{"lr": 0.1}],
        },
        "best": float("nan"),
        "position": (step, rank - rank),
    }
    own = random.Random(rank)
    local = {
        "rank": rank,
        "python": own.getstate(),
        "numpy": np.random.RandomState(rank).get_state(),
        "torch": torch.arange(rank + 1),
    }
    return parts_of(replicated, local)


def save_steps(*steps: int) -> Callable[[ExecutionCheckpoints, int], Restored | None]:
    def live(checkpoints: ExecutionCheckpoints, rank: int) -> Restored | None:
        restored = checkpoints.open()
        for step in steps:
            checkpoints.check(parts(step, rank))
            checkpoints.save(parts(step, rank), step=step, position={"step": step})
        checkpoints.close()
        return restored

    return live


def just_open(checkpoints: JobCheckpoints, rank: int) -> Restored | None:
    return checkpoints.open()


def assert_restored(restored: Any, step: int, rank: int) -> None:
    assert isinstance(restored, Restored), restored
    saved = parts(step, rank)
    assert restored.step == step
    assert {name: part.kind for name, part in restored.parts.items()} == {n: part.kind for n, part in saved.items()}
    replicated, expected = restored.parts[REPLICATED].tree, saved[REPLICATED].tree
    assert repr(restored.parts[LOCAL].tree) == repr(saved[LOCAL].tree)
    assert replicated["module"]["weight"] is replicated["module"]["tied"]
    torch.testing.assert_close(replicated["module"], expected["module"], rtol=0, atol=0)
    torch.testing.assert_close(replicated["optimizer"]["state"], expected["optimizer"]["state"], rtol=0, atol=0)
    assert replicated["position"] == (step, 0)


def damage(root: str, *parts: str) -> None:
    """Flip one bit in every object of ``root`` whose key contains all ``parts``."""
    store = open_store(root)
    keys = [info.key for info in store.scan() if all(part in info.key for part in parts)]
    assert keys
    for key in keys:
        body = bytearray(store.get(key))
        body[len(body) // 2] ^= 4
        store.put(key, body)
