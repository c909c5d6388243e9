"""The order of tests: the slow ones first, so that none of them is what everyone waits for at the end."""

from __future__ import annotations

import signal
import threading

import pytest

# A shell that starts the tests in the background leaves SIGINT ignored, and whatever they start would inherit that.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the order otherwise."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
