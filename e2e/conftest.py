"""The cluster that the tests run on, and Thunderhead on it.

The cluster comes up before the first test, outside of any test's time limit, and goes after the last one, unless it was
there before: `make cluster-up` keeps one between runs. Continuous integration (CI is set) keeps none.
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
from .cluster.config import REPOSITORY, ClusterError, chosen_name
from .cluster.locks import claimed
from .cluster.phases import Say
from .cluster.release import Release, delete_temporary_namespaces, restricted_namespace
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
        with _plain_errors():
            stack.enter_context(claimed(f"tests-{name}", f"test on cluster {name!r}"))
        tell = stack.enter_context(_teller(session.config))
        keep = choose.find(name) is not None and not os.environ.get("CI")
        try:
            with _plain_errors():
                session.config.stash[_CLUSTER], session.config.stash[_IMAGES] = choose.up(name, tell)
            return (yield)
        finally:
            _put_away(session, name, tell, keep=keep)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Ends the session with what is wrong with the cluster, and no traceback of pytest's own."""
    try:
        yield
    except ClusterError as error:
        pytest.exit(f"no cluster to test on: {error}", returncode=pytest.ExitCode.TESTS_FAILED)


def _put_away(session: pytest.Session, name: str, tell: Say, *, keep: bool) -> None:
    cluster = session.config.stash.get(_CLUSTER, None)
    if cluster is not None and session.testsfailed:
        cluster.diagnose(LOGS)
        tell(f"cluster: logs are in {LOGS}")
    if not keep:
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
    delete_temporary_namespaces(cluster)  # a session that was killed may have left one, and jobs in it
    restricted_namespace(cluster, name, temporary=True)
    yield name
    delete_temporary_namespaces(cluster)


@contextmanager
def _teller(config: pytest.Config) -> Iterator[Say]:
    """Says progress past pytest's capture, which would keep it until the end."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        screen = os.dup(2)
    with os.fdopen(screen, "w", buffering=1) as out:
        yield lambda line: print(line, file=out, flush=True)
