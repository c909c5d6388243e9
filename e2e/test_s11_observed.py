"""Scenario 11: pods obey the restricted profile; Prometheus scrapes operator and agents and finds what matters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cluster.api import Cluster
from .support.api import NAMESPACES, PODS, Api
from .support.figures import Figures
from .support.jobs import ProbeJob, Site
from .support.operators import Operators, samples
from .support.prom import Prometheus
from .support.run import Run
from .support.waiting import eventually

SCENARIO = "11 observed"
ENFORCE = "pod-security.kubernetes.io/enforce"

# What a dashboard of a job needs, as PromQL; `{}` is the selector of the job's pods, or of the operator's.
AGENT = {
    "step": "max(thunderhead_global_step{})",
    "loss": 'max(thunderhead_logged_value{metric="train_loss"} and on(pod) thunderhead_global_step{})',
    "throughput": "sum(rate(thunderhead_samples_total{}[10s])) > 0",
    "restarts": "max(thunderhead_restarts_total{})",
    "checkpoint age": "max(thunderhead_checkpoint_age_seconds{})",
    "goodput": "max(thunderhead_goodput_ratio{}) > 0",
}


@pytest.fixture
def prometheus(cluster: Cluster) -> Prometheus:
    return Prometheus(cluster.prometheus_url)


@pytest.fixture(scope="module")
def training(operator: object, api: Api, site: Site) -> Iterator[Run]:
    """A job that trains long enough to be scraped."""
    run = Run.of(api, ProbeJob(name="observed", nodes=2, samples=8 * 2000, step_seconds=0.1), site).submit()
    with run.explained():
        run.wait_step(15)
        yield run


def test_everything_runs_where_restricted_is_enforced(site: Site, operators: Operators, api: Api) -> None:
    for namespace in (site.namespace, operators.namespace):
        labels = api.get(NAMESPACES, None, namespace)["metadata"]["labels"]
        assert labels.get(ENFORCE) == "restricted", namespace


def test_prometheus_sees_what_matters(
    training: Run, prometheus: Prometheus, operators: Operators, figures: Figures
) -> None:
    for name, expression in AGENT.items():
        selector = f'{{namespace="{training.namespace}",pod=~"{training.name}-.*"}}'
        query = expression.replace("{}", selector)
        found = eventually(lambda query=query: prometheus.query(query), f"{name}: {query}", timeout_s=30)  # type: ignore[misc]  # mypy does not infer a default argument's type in a lambda
        figures.note(SCENARIO, f"Prometheus knows {name}", found[0][1])
    for namespace in (training.namespace, operators.namespace):
        targets = prometheus.targets(namespace)
        assert targets, f"no target in {namespace}"
        assert {target["health"] for target in targets} == {"up"}, [target["lastError"] for target in targets]


def test_the_parser_accepts_what_is_exposed(training: Run, operators: Operators, api: Api) -> None:
    path = PODS.path(training.namespace, f"{training.name}-1-0:9400", "proxy/metrics")

    def at_step_15() -> dict[str, float]:
        # The agent samples its workers at intervals, so the step that the log told of may not be in there yet.
        exposed = samples(api.text(path))
        return exposed if exposed["thunderhead_global_step"] >= 15 else {}

    assert eventually(at_step_15, f"step 15 in {path}", timeout_s=10)["thunderhead_world_size"] == 2
    for pod in operators.pods():
        assert operators.metrics(pod)["process_resident_memory_bytes"] > 0
