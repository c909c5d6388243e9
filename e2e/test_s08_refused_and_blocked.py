"""Scenario 8: what can never run fails at once and says why; what can heal is blocked, says on what, and heals."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from .support.api import CONFIG_MAPS, QUOTAS, SECRETS, Api, Object
from .support.figures import Figures
from .support.fixtures import Start
from .support.jobs import ProbeJob, Site, workload_files
from .support.observe import Seen, trainer_status, unix_seconds
from .support.run import Run, condition

SCENARIO = "8 refused and blocked"
Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Hopeless:
    """A job that can never run as it is written, and what its condition has to name."""

    name: str
    reason: str
    names: str
    spec: Callable[[Site], Spec]
    module: Mapping[str, Any] = field(default_factory=dict)


HOPELESS = (
    Hopeless(
        "import-error",
        "InvalidConfiguration",
        "a_package_nobody_has",
        lambda site: {"module": {"class_path": "broken.Model"}},
    ),
    Hopeless("init-args", "InvalidConfiguration", "widht", lambda site: {}, {"widht": 3}),
    Hopeless("precision", "InvalidConfiguration", "bf17", lambda site: {"trainer": {"precision": "bf17-mixed"}}),
    Hopeless(
        "s3-denied",
        "StorageRefused",
        "scenarios",
        lambda site: {"checkpoint": {"s3": {"credentialsSecretName": site.denied_credentials}}},
    ),
    Hopeless(
        "bucket-missing",
        "StorageRefused",
        "no-such-bucket",
        lambda site: {"checkpoint": {"uri": "s3://no-such-bucket/runs"}},
    ),
)


@pytest.mark.parametrize("hopeless", HOPELESS, ids=lambda hopeless: hopeless.name)
def test_what_can_never_run_fails_at_once(hopeless: Hopeless, start: Start, site: Site, figures: Figures) -> None:
    run = start(ProbeJob(name=hopeless.name, module=hopeless.module, spec=hopeless.spec(site)))
    failed = run.wait_condition("Failed")
    took = failed.at - started_at(run)
    figures.note(SCENARIO, f"{hopeless.name}: pod started → Failed", took, "s", asked=30)
    found = condition(failed.object, "Failed")
    assert found is not None
    assert found["reason"] == hopeless.reason
    assert hopeless.names in found["message"]
    status = run.wait_end("Failed")["status"]
    assert status["attempt"] == 1, "not tried again"
    assert status["restarts"]["charged"] == 0, "the budget is untouched"
    assert took <= 30


@dataclass(frozen=True)
class Obstacle:
    """Something in the way of a job: how it is there, how it goes, and what the condition has to name."""

    name: str
    reason: str
    names: str
    spec: Spec
    block: Callable[[Api, Site], None]
    heal: Callable[[Api, Site], None]


def nothing(api: Api, site: Site) -> None:
    """The obstacle is that something is not there."""


def make_code(api: Api, site: Site) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late-code"}, "data": workload_files()}
    api.apply(CONFIG_MAPS, site.namespace, body)


def make_secret(api: Api, site: Site) -> None:
    keys = api.get(SECRETS, site.namespace, site.credentials)["data"]
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late-keys"}, "data": keys}
    api.apply(SECRETS, site.namespace, body)


def make_quota(api: Api, site: Site) -> None:
    spec = {"hard": {"pods": "1"}}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one-pod"}, "spec": spec}
    api.apply(QUOTAS, site.namespace, body)


def lift_quota(api: Api, site: Site) -> None:
    api.delete(QUOTAS, site.namespace, "one-pod")


OBSTACLES = (
    Obstacle(
        "code-missing",
        "ConfigMapMissing",
        "late-code",
        {"code": {"configMap": {"name": "late-code"}}},
        nothing,
        make_code,
    ),
    Obstacle(
        "secret-missing",
        "SecretMissing",
        "late-keys",
        {"checkpoint": {"s3": {"credentialsSecretName": "late-keys"}}},
        nothing,
        make_secret,
    ),
    Obstacle("quota", "QuotaExceeded", "one-pod", {"nodes": 2}, make_quota, lift_quota),
)


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle.name)
def test_what_can_heal_is_blocked_until_it_does(
    obstacle: Obstacle, start: Start, site: Site, api: Api, figures: Figures
) -> None:
    obstacle.block(api, site)
    try:
        run = start(ProbeJob(name=obstacle.name, spec=obstacle.spec))
        blocked = run.wait_condition("Blocked", timeout_s=30)
    except BaseException:
        lift_quota(api, site)
        raise
    took = blocked.at - run.created_at
    figures.note(SCENARIO, f"{obstacle.name}: created → Blocked", took, "s", asked=10)
    found = condition(blocked.object, "Blocked")
    assert found is not None
    assert (found["reason"], obstacle.names in found["message"]) == (obstacle.reason, True), found
    assert took <= 10

    obstacle.heal(api, site)
    healed_at = time.time()
    first = run.wait_step(1)
    figures.note(SCENARIO, f"{obstacle.name}: healed → first step", first.at - healed_at, "s")
    status = run.wait_end()["status"]
    assert not condition({"status": status}, "Blocked")
    assert status["restarts"]["charged"] == 0


def started_at(run: Run) -> float:
    """When the trainer of the first pod started, by its node's clock; of whole seconds, so up to one too early."""
    versions: list[Seen] = run.observer.pod_versions
    starts = (_started(version.object) for version in versions)
    return unix_seconds(next(at for at in starts if at))


def _started(pod: Object) -> str | None:
    state = trainer_status(pod).get("state", {})
    ran: Object = state.get("running") or state.get("terminated") or {}
    return ran.get("startedAt")
