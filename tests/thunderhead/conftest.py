"""Fixtures of the trainer's tests; the modules ``trainer_*`` beside this file are their harness."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _one_thread_in_an_empty_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Files that a Trainer writes by default go to the test's own directory, and no test sees another's seed."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "thunderhead")
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        os.environ.pop(name, None)
