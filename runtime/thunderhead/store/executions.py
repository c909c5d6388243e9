"""Executions, and the key of every object of a job.

    epochs/<execution>/claim                  this execution has begun
    epochs/<execution>/base                   what it started from, and the lineage behind that
    epochs/<execution>/committed              it has committed: where no manifest is left, something else deleted them
    steps/<step>/<execution>.json             a manifest: one commit
    shards/<execution>/<step>/<nonce>-<rank>-<content>.safetensors

Numbers are padded so that an order of keys is an order of time; readers accept any width. What is stored says ``epoch``
for an execution, in keys and in documents, as it did in the first release: each release reads what another wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from thunderhead.store.objects import Corrupt

_NUMBER: Final = r"([0-9]{1,18})"
_EXECUTION: Final = rf"{_NUMBER}-{_NUMBER}"
_EXECUTION_PATTERN: Final = re.compile(_EXECUTION)
_CLAIM_PATTERN: Final = re.compile(rf"epochs/{_EXECUTION}/(claim|base|committed)")
_COMMIT_PATTERN: Final = re.compile(rf"steps/{_NUMBER}/{_EXECUTION}\.json")
_SHARD_PATTERN: Final = re.compile(rf"shards/{_EXECUTION}/{_NUMBER}/(?!\.\.?$)[^/\0]+")
# Finished or not: what is not has the name of its target at its end.
_WRITER_PATTERN: Final = re.compile(
    rf"(?:(?:epochs|shards)/{_EXECUTION}/.*|steps/[^/]+/.*?{_EXECUTION}\.json)", re.DOTALL
)

EXECUTIONS: Final = "epochs/"
STEPS: Final = "steps/"
SHARDS: Final = "shards/"


@dataclass(frozen=True, slots=True, order=True)
class Execution:
    """One execution of the job: attempt (a generation of pods), then round (a restart of processes in place)."""

    attempt: int
    round: int = 0

    def __str__(self) -> str:
        return f"{self.attempt:06d}-{self.round:04d}"

    @classmethod
    def parse(cls, text: str) -> Execution:
        """The inverse of ``str``.

        Raises:
            Corrupt: not the name of an execution.
        """
        found = _EXECUTION_PATTERN.fullmatch(text)
        if not found:
            raise Corrupt(f"{text!r} is not the name of an execution, such as {cls(1)}")
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True, order=True)
class Commit:
    """The identity of a manifest: an execution commits a step at most once, and its steps only grow."""

    execution: Execution
    step: int

    @property
    def key(self) -> str:
        return f"{STEPS}{self.step:012d}/{self.execution}.json"

    @classmethod
    def of_key(cls, key: str) -> Commit | None:
        """The commit whose manifest lies at ``key``, or ``None`` where ``key`` is no manifest."""
        found = _COMMIT_PATTERN.fullmatch(key)
        return cls(Execution(int(found[2]), int(found[3])), int(found[1])) if found else None


def claim_key(execution: Execution) -> str:
    return f"{EXECUTIONS}{execution}/claim"


def base_key(execution: Execution) -> str:
    return f"{EXECUTIONS}{execution}/base"


def committed_key(execution: Execution) -> str:
    return f"{EXECUTIONS}{execution}/committed"


def execution_of_key(key: str) -> tuple[Execution, str] | None:
    """The execution and ``"claim"``, ``"base"`` or ``"committed"``, or ``None`` where ``key`` is none of them."""
    found = _CLAIM_PATTERN.fullmatch(key)
    return (Execution(int(found[1]), int(found[2])), found[3]) if found else None


def writer_of_key(key: str) -> Execution | None:
    """The execution that wrote, or began to write, the object at ``key``; ``None`` where its name does not tell."""
    found = _WRITER_PATTERN.fullmatch(key)
    numbers = [int(number) for number in found.groups() if number is not None] if found else []
    return Execution(*numbers) if numbers else None


def shard_folder(execution: Execution, step: int) -> str:
    return f"{SHARDS}{execution}/{step:012d}/"


def shard_of_key(key: str) -> Commit | None:
    """The commit that a shard was uploaded for, or ``None`` where ``key`` is no shard."""
    found = _SHARD_PATTERN.fullmatch(key)
    return Commit(Execution(int(found[1]), int(found[2])), int(found[3])) if found else None
