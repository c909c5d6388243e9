"""Waiting for something in the cluster that has no watch of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, *, timeout_s: float, every_s: float = 0.2) -> T:
    """Looks until the answer is true and returns it. Raises AssertionError naming `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not so after {timeout_s:g} s"
        time.sleep(every_s)
    return found
