"""A cluster in memory for clients: the modules ``cl_*`` of its tests, over the operator's ``op_*``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for place in (Path(__file__).parents[2] / "thunderhead_client", Path(__file__).parents[2] / "thunderhead_operator"):
    sys.path.insert(0, str(place))

from cl_cluster import Served, served  # noqa: E402  # found by the lines above


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A cluster in memory behind HTTP, which KUBECONFIG names."""
    with served(tmp_path) as made:
        monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig))
        yield made
