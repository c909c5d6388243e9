"""Epochs, and the key of every object of a job.

    epochs/<epoch>/claim                      this epoch has begun
    epochs/<epoch>/base                       what it started from, and the lineage behind that
    epochs/<epoch>/committed                  it has committed: where no manifest is left, something else deleted them
    steps/<step>/<epoch>.json                 a manifest: one commit
    shards/<epoch>/<step>/<nonce>-<rank>-<content>.safetensors

Numbers are padded so that an order of keys is an order of time; readers accept any width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from thunderhead.store.objects import Corrupt

_NUMBER: Final = r"([0-9]{1,18})"
_EPOCH: Final = rf"{_NUMBER}-{_NUMBER}"
_EPOCH_PATTERN: Final = re.compile(_EPOCH)
_CLAIM_PATTERN: Final = re.compile(rf"epochs/{_EPOCH}/(claim|base|committed)")
_COMMIT_PATTERN: Final = re.compile(rf"steps/{_NUMBER}/{_EPOCH}\.json")
_SHARD_PATTERN: Final = re.compile(rf"shards/{_EPOCH}/{_NUMBER}/(?!\.\.?$)[^/\0]+")
# Finished or not: what is not has the name of its target at its end.
_WRITER_PATTERN: Final = re.compile(rf"(?:(?:epochs|shards)/{_EPOCH}/.*|steps/[^/]+/.*?{_EPOCH}\.json)", re.DOTALL)

EPOCHS: Final = "epochs/"
STEPS: Final = "steps/"
SHARDS: Final = "shards/"


@dataclass(frozen=True, slots=True, order=True)
class Epoch:
    """One execution of the job: attempt (a generation of pods), then round (a restart of processes in place)."""

    attempt: int
    round: int = 0

    def __str__(self) -> str:
        return f"{self.attempt:06d}-{self.round:04d}"

    @classmethod
    def parse(cls, text: str) -> Epoch:
        """The inverse of ``str``.

        Raises:
            Corrupt: not the name of an epoch.
        """
        found = _EPOCH_PATTERN.fullmatch(text)
        if not found:
            raise Corrupt(f"{text!r} is not the name of an epoch, such as {cls(1)}")
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True, order=True)
class Commit:
    """The identity of a manifest: an epoch commits a step at most once, and its steps only grow."""

    epoch: Epoch
    step: int

    @property
    def key(self) -> str:
        return f"{STEPS}{self.step:012d}/{self.epoch}.json"

    @classmethod
    def of_key(cls, key: str) -> Commit | None:
        """The commit whose manifest lies at ``key``, or ``None`` where ``key`` is no manifest."""
        found = _COMMIT_PATTERN.fullmatch(key)
        return cls(Epoch(int(found[2]), int(found[3])), int(found[1])) if found else None


def claim_key(epoch: Epoch) -> str:
    return f"{EPOCHS}{epoch}/claim"


def base_key(epoch: Epoch) -> str:
    return f"{EPOCHS}{epoch}/base"


def committed_key(epoch: Epoch) -> str:
    return f"{EPOCHS}{epoch}/committed"


def epoch_of_key(key: str) -> tuple[Epoch, str] | None:
    """The epoch and ``"claim"``, ``"base"`` or ``"committed"``, or ``None`` where ``key`` is none of them."""
    found = _CLAIM_PATTERN.fullmatch(key)
    return (Epoch(int(found[1]), int(found[2])), found[3]) if found else None


def writer_of_key(key: str) -> Epoch | None:
    """The epoch that wrote, or began to write, the object at ``key``; ``None`` where its name does not tell."""
    found = _WRITER_PATTERN.fullmatch(key)
    numbers = [int(number) for number in found.groups() if number is not None] if found else []
    return Epoch(*numbers) if numbers else None


def shard_folder(epoch: Epoch, step: int) -> str:
    return f"{SHARDS}{epoch}/{step:012d}/"


def shard_of_key(key: str) -> Commit | None:
    """The commit that a shard was uploaded for, or ``None`` where ``key`` is no shard."""
    found = _SHARD_PATTERN.fullmatch(key)
    return Commit(Epoch(int(found[1]), int(found[2])), int(found[3])) if found else None
