"""A job over the in-memory store, and an oracle that knows what must be true of it.

The oracle knows what each execution saved, when it was told that a commit is safe, and what each opening chose.
Whatever happened before, the next opening must return a complete commit, bit for bit, that continues every acknowledged
one, and the job must be able to go on from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from thunderhead.job.errors import StorageUnavailable, Superseded
from thunderhead.job.link import Skipped
from thunderhead.job.parts import Parts, parts_of
from thunderhead.store.codec import encode
from thunderhead.store.exchange import LocalExchange
from thunderhead.store.executions import Commit, Execution
from thunderhead.store.job_checkpoints import ExecutionCheckpoints
from thunderhead.store.manifest import Manifest
from thunderhead.store.memory import MemoryStore, Perform, faultless
from thunderhead.store.objects import ObjectStore, Unavailable
from thunderhead.store.settings import CheckpointSettings

Objects = dict[str, bytes]


class Broken(AssertionError):
    """A promise of the protocol does not hold."""


@dataclass
class Oracle:
    """What really happened, told by the processes as it happens.

    Attributes:
        saved: every bit of what each commit consists of.
        history: the commits that each commit's training went through, itself included.
        acknowledged: commits that a process was told are safe, in that order.
        opened: newest execution whose opening returned, and the commit that it returned.
    """

    saved: dict[Commit, bytes] = field(default_factory=dict)
    history: dict[Commit, frozenset[Commit]] = field(default_factory=dict)
    acknowledged: list[Commit] = field(default_factory=list)
    opened: tuple[Execution, Commit | None] = (Execution(0), None)

    def copy(self) -> Oracle:
        return Oracle(dict(self.saved), dict(self.history), list(self.acknowledged), self.opened)


class Process:
    """One execution of the job: restores, trains, saves; what it does is a function of what it restored."""

    def __init__(
        self,
        objects: Objects,
        oracle: Oracle,
        attempt: int,
        perform: Perform = faultless,
        keep: int = 2,
        patience_s: float = 0,
    ):
        self.execution = Execution(attempt)
        self._now = 0.0
        self.oracle = oracle
        self.at: Commit | None = None
        self.store = MemoryStore(objects, perform=perform)
        self.checkpoints = ExecutionCheckpoints(
            self.store,
            CheckpointSettings(execution=self.execution, keep=keep, patience_s=patience_s),
            LocalExchange(),
            open_store=_no_other_store,
            on_commit=self._acknowledge,
            clock=lambda: 1e9,
            nonce=f"nonce{attempt}",
            sleep=self._sleep,
            monotonic=lambda: self._now,
        )

    def open(self) -> Commit | None:
        restored = self.checkpoints.open()
        self.at = None
        if restored is not None:
            self.at = commit_of(restored.uri)
            if restored.step != self.at.step:
                raise Broken(f"{restored.uri} restored as step {restored.step}")
            if fingerprint(restored.parts) != self.oracle.saved[self.at]:
                raise Broken(f"{self.at} restored with other bits than it was saved with")
        if self.execution > self.oracle.opened[0]:
            self.oracle.opened = (self.execution, self.at)
        return self.at

    def save(self, patience_s: float = 0) -> Skipped | None:
        before = self.at
        commit = Commit(self.execution, (before.step if before else 0) + 1)
        value = float(commit.step + 100 * self.execution.attempt)
        replicated = {"weight": torch.full((3,), value), "optimizer": {0: {"moment": torch.tensor(value)}}}
        local = {"rng": torch.tensor([commit.step, self.execution.attempt], dtype=torch.uint8)}
        parts = parts_of(replicated, local)
        self.oracle.saved[commit] = fingerprint(parts)
        self.oracle.history[commit] = frozenset({commit}) | (self.oracle.history[before] if before else frozenset())
        self.at = commit
        position = {"step": commit.step}
        return self.checkpoints.save(parts, step=commit.step, position=position, patience_s=patience_s)

    def live(self, saves: int) -> None:
        """Restore, then save a few times."""
        self.open()
        for _ in range(saves):
            self.save()

    def _sleep(self, seconds: float) -> None:
        self._now += seconds

    def _acknowledge(self, step: int, uri: str, at: float) -> None:
        commit = commit_of(uri)
        if commit.execution == self.execution:
            self.oracle.acknowledged.append(commit)


def commit_of(uri: str) -> Commit:
    commit = Commit.of_key(uri.removeprefix("memory:///"))
    assert commit is not None, uri
    return commit


def fingerprint(parts: Parts) -> bytes:
    """All bits of a checkpoint."""
    bits = []
    for name, part in parts.items():
        encoded = encode(part.tree)
        bits += [f"{name} {part.kind}".encode(), json.dumps(encoded.skeleton).encode()]
        bits += [tensor.numpy().tobytes() for tensor in encoded.tensors.values()]
    return b"\0".join(bits)


def recover(objects: Objects, oracle: Oracle, attempt: int) -> Commit | None:
    """What the next two attempts do with ``objects``, which it changes; returns what the first restored.

    Raises:
        Broken: a promise does not hold.
    """
    oracle = oracle.copy()
    newest_execution, its_base = oracle.opened
    process = Process(objects, oracle, attempt)
    found = process.open()
    history = oracle.history[found] if found else frozenset()
    lost = [commit for commit in oracle.acknowledged if commit not in history]
    if lost:
        raise Broken(f"{found} was restored and does not continue the acknowledged {lost}")
    if newest_execution > Execution(0) and found != its_base and (found is None or found.execution < newest_execution):
        raise Broken(f"{found} was restored, although {newest_execution} had begun from {its_base}")
    process.save()
    check_manifests_complete(objects)
    again = Process(objects, oracle, attempt + 1).open()
    if again != process.at:
        raise Broken(f"{again} was restored after {process.at} was acknowledged")
    return found


def check_manifests_complete(objects: Objects) -> None:
    """No manifest without its shards, ever: they are written before it and deleted after it."""
    for key, body in objects.items():
        if Commit.of_key(key):
            missing = [shard.key for shard in Manifest.from_bytes(body, key).shards if shard.key not in objects]
            if missing:
                raise Broken(f"{key} lacks {missing}")


def undisturbed_or_ended(action: Callable[[], object], *, alone: bool) -> bool:
    """Whether ``action`` ran through. It may be ended by a silent store and, unless ``alone``, by a newer execution."""
    try:
        action()
    except (StorageUnavailable, Unavailable):
        return False
    except Superseded as error:
        if alone:
            raise Broken(f"superseded, and nobody else is there: {error}") from error
        return False
    return True


def _no_other_store(uri: str) -> ObjectStore:
    raise AssertionError(f"nothing refers to {uri}")
