"""kind where a docker engine answers, this machine's own processes where none does."""

from __future__ import annotations

import os

from . import kind, local
from .api import Cluster, Images
from .config import ClusterError
from .phases import Say, say

VARIABLE = "THUNDERHEAD_CLUSTER_BY"
_MAKERS = ("kind", "local")


def maker() -> str:
    """Which of the two makes clusters here; THUNDERHEAD_CLUSTER_BY decides where both could."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen and chosen not in _MAKERS:
        raise ClusterError(f"{VARIABLE}={chosen!r} must be one of {', '.join(_MAKERS)}")
    return chosen or ("kind" if kind.docker_answers() else "local")


def up(name: str, tell: Say = say) -> tuple[Cluster, Images]:
    """The cluster `name`, whole, with this checkout's images on its nodes; made first where it does not run."""
    return kind.up(name, tell) if maker() == "kind" else local.up(name, tell)


def build_all(tell: Say = say) -> None:
    """Builds everything that `up` would, so that it has only to start it."""
    if maker() == "kind":
        kind.build_all(tell)
    else:
        local.build_all(tell)


def down(name: str, tell: Say = say) -> None:
    """Ends the cluster `name` and removes every trace of it; does nothing where there is none."""
    if maker() == "kind":
        kind.down(name, tell)
    else:
        local.down(name, tell)


def find(name: str) -> Cluster | None:
    """The cluster `name` if it runs."""
    return kind.find(name) if maker() == "kind" else local.find(name)


def traces(name: str) -> list[str]:
    """What is left of the cluster `name` on this machine; empty after `down`."""
    return kind.traces(name) if maker() == "kind" else local.traces(name)


def required(name: str) -> Cluster:
    """The running cluster `name`. Raises ClusterError where it does not run."""
    cluster = find(name)
    if cluster is None:
        raise ClusterError(f"cluster {name!r} is not running: `make cluster-up` starts it")
    return cluster
