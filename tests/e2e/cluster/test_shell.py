"""Commands of the bring-up: what they are given arrives, however long they take to read it."""

from __future__ import annotations

from e2e.cluster.shell import run
from e2e.cluster.together import LOOK_S

TEXT = "apiVersion: v1\n" * 100_000
"""More than a pipe holds."""


def test_input_is_read_whole_by_who_is_slow() -> None:
    assert run("sh", "-c", f"sleep {3 * LOOK_S}; cat", stdin=TEXT.encode()) == TEXT
