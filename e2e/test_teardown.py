"""Whatever becomes of the one who brings a cluster up, `down` finds everything of it and removes it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from .cluster import choose
from .cluster.api import Cluster
from .cluster.config import REPOSITORY

NAME = "halfway"
KILLS_AT = (0.0, 0.2, 1.0, 3.0, 6.0)
"""Seconds after the first thing of the cluster is there; a bring-up takes about eight."""


@pytest.fixture
def name() -> Iterator[str]:
    yield NAME
    choose.down(NAME)


@pytest.mark.parametrize("delay_s", KILLS_AT)
def test_down_clears_what_a_killed_bring_up_left(cluster: Cluster, name: str, delay_s: float) -> None:
    """The session's cluster has built what this one needs, so its bring-up begins at once."""
    environment = {**os.environ, "THUNDERHEAD_CLUSTER": name}
    command = [sys.executable, "-m", "e2e.cluster", "up"]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL) as bring_up:
        while not choose.traces(name):
            assert bring_up.poll() is None, "the bring-up ended before it made anything"
            time.sleep(0.01)
        time.sleep(delay_s)
        bring_up.kill()
    assert choose.traces(name)
    choose.down(name)
    assert choose.traces(name) == []
    assert choose.find(name) is None
    assert choose.find(cluster.name) is not None, "the other cluster is as it was"
