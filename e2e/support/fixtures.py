"""Fixtures and hooks of the scenarios; `conftest.py` imports them all.

What they need of the cluster: the fixtures `cluster` (see `cluster.api.Cluster`), `images`, `operator` and `namespace`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Protocol

import boto3
import pytest

from ..cluster.api import Cluster, Keys
from .api import CONFIG_MAPS, SECRETS, Api
from .committed import Commits
from .figures import Figures
from .gate import Gate
from .hands import Hands
from .jobs import ProbeJob, Site, six_ranks, workload_files
from .kubectl import Kubectl
from .operators import Operators
from .run import Run

BUCKET = "scenarios"
TEST_TIMEOUT_S = 420
_FIGURES = pytest.StashKey[Figures]()


class Start(Protocol):
    """Submits a job that is removed at the end of the test."""

    def __call__(self, job: ProbeJob) -> Run: ...


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """Where measurements go."""
    return request.config.stash.setdefault(_FIGURES, Figures())


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Api:
    return Api(cluster.kubeconfig)


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    return Kubectl(cluster.kubectl, cluster.kubeconfig)


@pytest.fixture(scope="session")
def site(cluster: Cluster, api: Api, namespace: str) -> Site:
    """A namespace with code, credentials and a bucket ready."""
    _make_bucket(cluster)
    secrets = {"s3-keys": cluster.s3.admin, "s3-denied": cluster.s3.denied}
    for name, keys in secrets.items():
        api.apply(
            SECRETS, namespace, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": _data(keys)}
        )
    files = workload_files()
    api.apply(
        CONFIG_MAPS,
        namespace,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "workloads"}, "data": files},
    )
    return Site(
        namespace=namespace,
        code="workloads",
        bucket=BUCKET,
        endpoint=cluster.s3.endpoint,
        region=cluster.s3.region,
        credentials="s3-keys",
        denied_credentials="s3-denied",
    )


@pytest.fixture(scope="session")
def commits(cluster: Cluster, site: Site) -> Iterator[Commits]:
    """Reads committed checkpoints, with the keys where a job has them too: in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", cluster.s3.admin.access)
        patch.setenv("AWS_SECRET_ACCESS_KEY", cluster.s3.admin.secret)
        yield Commits(f"s3://{site.bucket}/runs", endpoint=cluster.s3.host_endpoint, region=cluster.s3.region)


@pytest.fixture
def start(operator: object, api: Api, site: Site, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Submits jobs, explains them when the test fails, and removes them at its end."""
    runs: list[Run] = []
    request.node.stash[RUNS] = runs

    def submit(job: ProbeJob) -> Run:
        run = Run.of(api, job, site)
        runs.append(run)
        return run.submit()

    yield submit
    for run in runs:
        run.remove()


@pytest.fixture(scope="session")
def baseline(operator: object, api: Api, site: Site) -> Iterator[Run]:
    """The undisturbed run, while it trains: its first steps are done. It lasts several periods of progress writes."""
    run = Run.of(api, six_ranks("undisturbed", step_seconds=0.8), site).submit()
    with run.explained():
        run.wait_step(5)
        yield run


@pytest.fixture(scope="session")
def hands(cluster: Cluster, api: Api, images: Any) -> Iterator[Hands]:
    """Root on every node."""
    hands = Hands(api, cluster.kubectl, cluster.kubeconfig, images.runtime)
    hands.install()
    yield hands
    hands.remove()


@pytest.fixture
def gate(cluster: Cluster) -> Iterator[Gate]:
    """What stands between one test's jobs and the S3 server."""
    gate = Gate(cluster.s3.host_endpoint)
    yield gate
    gate.close()


@pytest.fixture(scope="session")
def undisturbed(baseline: Run) -> Run:
    """The same once it has ended, for others to be compared with; nothing that is done to them can touch it."""
    baseline.wait_end()
    return baseline


class Installed(Protocol):
    """What the scenarios use of the fixture `operator`."""

    namespace: str


@pytest.fixture(scope="session")
def operators(operator: Installed, api: Api) -> Operators:
    """The installed operator's replicas."""
    return Operators(api, operator.namespace)


@pytest.fixture
def healed(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, to do harm to; every node is well again afterwards."""
    yield cluster
    cluster.heal()


RUNS = pytest.StashKey[list[Run]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scenarios wait for real nodes to be missed and real pods to start, so the limit of a hanging test is higher."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A failed test shows what became of its jobs, as they are at this moment."""
    report = yield
    if report.failed:
        for run in item.stash.get(RUNS, []):
            report.sections.append((f"job {run.name}", run.evidence()))
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table of everything measured."""
    figures = config.stash.get(_FIGURES, None)
    if figures is not None and figures.all:
        figures.save()
        terminalreporter.section("measured")
        terminalreporter.write_line(figures.table())


def _make_bucket(cluster: Cluster) -> None:
    keys = cluster.s3.admin
    client = boto3.client(
        "s3",
        endpoint_url=cluster.s3.host_endpoint,
        region_name=cluster.s3.region,
        aws_access_key_id=keys.access,
        aws_secret_access_key=keys.secret,
    )
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)


def _data(keys: Keys) -> dict[str, str]:
    plain = {"AWS_ACCESS_KEY_ID": keys.access, "AWS_SECRET_ACCESS_KEY": keys.secret}
    return {name: base64.b64encode(value.encode()).decode() for name, value in plain.items()}
