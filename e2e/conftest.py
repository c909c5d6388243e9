"""The cluster that the tests run on, and Thunderhead on it.

The cluster comes up before the first test, outside of any test's time limit, and goes after the last one, unless it was
there before: `make cluster-up` keeps one between runs.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from .cluster import choose
from .cluster.api import Cluster, Images
from .cluster.config import REPOSITORY, chosen_name
from .cluster.locks import claimed
from .cluster.progress import Say
from .cluster.release import Release, delete_namespace, restricted_namespace
from .support.fixtures import *  # noqa: F403  # the fixtures and hooks of the scenarios; pytest finds them by being here

LOGS = REPOSITORY / "build" / "reports" / "cluster"
_CLUSTER = pytest.StashKey[Cluster]()
_IMAGES = pytest.StashKey[Images]()


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Brings the cluster up if any test needs it, and runs the tests."""
    needed = any("cluster" in getattr(item, "fixturenames", ()) for item in session.items)
    if not needed or session.config.option.collectonly:
        return (yield)
    name = chosen_name()
    with ExitStack() as stack:
        stack.enter_context(claimed(f"tests-{name}", f"test on cluster {name!r}"))
        tell = stack.enter_context(_teller(session.config))
        was_there = choose.find(name) is not None
        cluster, images = choose.up(name, tell)
        session.config.stash[_CLUSTER], session.config.stash[_IMAGES] = cluster, images
        try:
            return (yield)
        finally:
            if session.testsfailed:
                cluster.diagnose(LOGS)
                tell(f"cluster: logs are in {LOGS}")
            if not was_there:
                choose.down(name, tell)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Three nodes, an S3 server, Prometheus, and what may befall them."""
    return request.config.stash[_CLUSTER]


@pytest.fixture(scope="session")
def images(request: pytest.FixtureRequest) -> Images:
    """This checkout's images, known to every node."""
    return request.config.stash[_IMAGES]


@pytest.fixture(scope="session")
def operator(cluster: Cluster, images: Images) -> Iterator[Release]:
    """Thunderhead as an administrator installs it, in a namespace that enforces the restricted profile."""
    release = Release(cluster, images)
    release.install()
    yield release
    release.uninstall()


@pytest.fixture(scope="session")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace that enforces the restricted profile."""
    name = f"e2e-{secrets.token_hex(3)}"
    restricted_namespace(cluster, name)
    yield name
    delete_namespace(cluster, name)


@contextmanager
def _teller(config: pytest.Config) -> Iterator[Say]:
    """Says progress past pytest's capture, which would keep it until the end."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        screen = os.dup(2)
    with os.fdopen(screen, "w", buffering=1) as out:
        yield lambda line: print(line, file=out, flush=True)
