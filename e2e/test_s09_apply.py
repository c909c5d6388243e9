"""Scenario 9: the API server itself refuses what is wrong, naming the field; applying a file twice changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from .support.api import CONFIG_MAPS, JOBS, NETWORK_POLICIES, PODS, SERVICES, Api, Object
from .support.figures import Figures
from .support.fixtures import Start
from .support.jobs import ProbeJob, Site, overlaid
from .support.kubectl import Kubectl
from .support.observe import LABEL_JOB
from .support.operators import Operators

SCENARIO = "9 apply"


@dataclass(frozen=True)
class Wrong:
    """A mistake in a spec or a name, and the field that the refusal has to name."""

    what: str
    names: str
    spec: dict[str, Any] = field(default_factory=dict)
    name: str = "wrong"


WRONG = (
    Wrong("nodes 0", "spec.nodes", {"nodes": 0}),
    Wrong("name of 80 characters", "metadata.name", name="a" * 80),
    Wrong("s3:/x", "spec.checkpoint.uri", {"checkpoint": {"uri": "s3:/x"}}),
    Wrong("trainer.max_epoch", "spec.trainer.max_epoch", {"trainer": {"max_epoch": 3}}),
    Wrong("limit_val_batches: 1.0", "spec.trainer.limit_val_batches", {"trainer": {"limit_val_batches": 1.0}}),
    Wrong("two code sources", "spec.code", {"code": {"inline": {"files": {"a.py": ""}}}}),
    Wrong("negative deadline", "spec.activeDeadlineSeconds", {"activeDeadlineSeconds": -1}),
    Wrong("devices: 4", "spec.trainer.devices", {"trainer": {"devices": 4}}),
)


@pytest.fixture(scope="class")
def _stopped_operator(operators: Operators) -> Iterator[None]:
    replicas = operators.deployment()["spec"]["replicas"]
    operators.scale(0)
    yield
    operators.scale(replicas)


@pytest.mark.usefixtures("_stopped_operator")
class TestWithTheOperatorStopped:
    @pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.what)
    def test_what_is_wrong_is_refused_by_its_field(
        self, wrong: Wrong, site: Site, kubectl: Kubectl, api: Api, figures: Figures
    ) -> None:
        manifest = ProbeJob(name=wrong.name).manifest(site)
        manifest["spec"] = overlaid(manifest["spec"], wrong.spec)
        said = kubectl.run("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
        assert said.status != 0, said.out
        assert wrong.names in said.err
        assert api.find(JOBS, site.namespace, wrong.name) is None
        line = next(line for line in said.err.splitlines() if wrong.names in line)
        figures.note(SCENARIO, f"{wrong.what}: refused", line[line.index(wrong.names) :])

    def test_what_is_right_is_accepted(self, site: Site, kubectl: Kubectl) -> None:
        text = yaml.safe_dump(ProbeJob(name="right").manifest(site))
        said = kubectl.run("apply", "--dry-run=server", "-f", "-", stdin=text)
        assert (said.status, said.err) == (0, "")


def test_applying_twice_changes_nothing(start: Start, site: Site, api: Api, kubectl: Kubectl) -> None:
    job = ProbeJob(name="twice", nodes=2)
    text = yaml.safe_dump(job.manifest(site))
    apply = ("apply", "--server-side", "--field-manager=a-user", "--force-conflicts", "-f", "-")
    run = start(job)
    assert kubectl.run(*apply, stdin=text).status == 0
    run.wait_step(5)
    before = run.job()["metadata"]["generation"]
    assert kubectl.run(*apply, stdin=text).status == 0
    assert run.job()["metadata"]["generation"] == before
    assert run.wait_end()["status"]["attempt"] == 1, "the pods were left alone"
    finished = everything(api, site, run.name)
    assert kubectl.run(*apply, stdin=text).status == 0
    assert everything(api, site, run.name) == finished


def everything(api: Api, site: Site, name: str) -> list[Object]:
    """The job and all its children, whole, with their resource versions; of pods what is not the kubelet's."""
    children = (CONFIG_MAPS, SERVICES, NETWORK_POLICIES)
    found = [api.list(resource, site.namespace, labels=f"{LABEL_JOB}={name}") for resource in children]
    pods = [without_kubelets_part(pod) for pod in api.list(PODS, site.namespace, labels=f"{LABEL_JOB}={name}")]
    return [api.get(JOBS, site.namespace, name), *pods, *(child for some in found for child in some)]


def without_kubelets_part(pod: Object) -> Object:
    """Long after its containers have ended a kubelet may say of a pod that its sandbox is gone, too."""
    theirs = ("resourceVersion", "managedFields")
    metadata = {name: value for name, value in pod["metadata"].items() if name not in theirs}
    return {**{name: value for name, value in pod.items() if name != "status"}, "metadata": metadata}


def test_a_deleted_job_can_be_applied_again_at_once(start: Start) -> None:
    first = start(ProbeJob(name="again", nodes=2, samples=8 * 4000))
    first.wait_step(2)
    first.remove()  # by force, so that the nodes still end the old pods while the new ones begin
    second = start(ProbeJob(name="again", nodes=2))
    assert second.uid != first.uid
    assert second.wait_end()["status"]["attempt"] == 1
