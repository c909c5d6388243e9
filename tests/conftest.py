"""The order of tests: the slow ones first, so that none of them is what everyone waits for at the end."""

from __future__ import annotations

import signal
import subprocess
import threading
from typing import Any

import pytest

# A shell that starts the tests in the background leaves SIGINT ignored, and whatever they start would inherit that.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the order otherwise."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """Say how a worker ended that died: by which signal, or with which exit code."""
    if error is None:
        return
    process: subprocess.Popen[bytes] = node.gateway._io.popen
    try:
        print(f"\nworker {node.gateway.id} ended with exit code {process.wait(10)}", flush=True)
    except subprocess.TimeoutExpired:
        print(f"\nworker {node.gateway.id} still runs, but has hung up", flush=True)
