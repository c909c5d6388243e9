"""How the user's code compares with what the job runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CodeSight:
    """The user's ConfigMap as last looked at, beside the copy that the attempt runs.

    Attributes:
        deleted: it is not there.
        changed: names of the files that differ.
    """

    deleted: bool = False
    changed: tuple[str, ...] = ()
