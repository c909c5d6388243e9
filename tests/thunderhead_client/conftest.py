"""A cluster in memory for clients: the modules ``cl_*`` of its tests, over the operator's ``op_*``."""

from __future__ import annotations

import sys
from pathlib import Path

for place in (Path(__file__).parent, Path(__file__).parents[1] / "thunderhead_operator"):
    sys.path.insert(0, str(place))

from cl_cluster import cluster  # noqa: E402  # found by the lines above

__all__ = ["cluster"]
