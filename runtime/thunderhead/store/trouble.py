"""What a store that does not take a checkpoint says, as the ranks tell it to each other, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from thunderhead.job.errors import JobError, StorageRefused, StorageUnavailable
from thunderhead.store.objects import StoreError

# Saves in a row that the store may refuse before the job ends: credentials are rotated and policies mended meanwhile.
TOLERATED_REFUSALS: Final = 3


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a save did not succeed.

    Attributes:
        message: what the store said, in one line.
        refused: it said no; else it did not answer.
        again: the same save is tried again.
        doubtful: the manifest may have been written, or may yet be.
    """

    message: str
    refused: bool
    again: bool = False
    doubtful: bool = False

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Trouble:
        return cls(**value)

    def found_by(self, rank: int) -> Trouble:
        """The same, naming who met it."""
        return replace(self, message=f"{self.message} (rank {rank})")


def trouble_of(error: StoreError | StorageRefused) -> Trouble:
    """What an error of a store means for a save."""
    return Trouble(" ".join(str(error).split()), isinstance(error, StorageRefused))


def refusal_of(trouble: Trouble, *, in_a_row: int) -> StorageRefused:
    """The end of a job whose saves have been refused for longer than is tolerated."""
    return StorageRefused(f"{trouble.message}; {in_a_row} checkpoints in a row were refused")


def given_up(trouble: Trouble, seconds: float) -> JobError:
    """The end of a job that does not go on without this commit."""
    if trouble.refused:
        return StorageRefused(f"{trouble.message}; refused for {seconds:g} s")
    return unavailable(trouble.message, seconds)


def unavailable(message: str, seconds: float) -> StorageUnavailable:
    """The end of an attempt whose store did not answer in time."""
    return StorageUnavailable(
        f"{message}; no answer for {seconds:g} s. Correct the address where nothing answers there (in a job: "
        "checkpoint.s3.endpoint, checkpoint.uri), or bring the store back; nothing that was committed is lost"
    )
