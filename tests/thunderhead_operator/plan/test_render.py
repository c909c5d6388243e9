"""What is made for a job: restricted, owned, immutable, and with every name of the treaty."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from op_build import UID, context, pod, running_status

from thunderhead_api.messages import FrozenJob
from thunderhead_api.pod_fields import REMOVABLE
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.treaty import Env, Label
from thunderhead_operator import plan
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.render import (
    attempt_children,
    attempt_key,
    frozen_job,
    is_accelerator,
    job_children,
    processes_per_node,
)
from thunderhead_operator.plan.render_pod import render_pod

Manifest = dict[str, Any]
FULL: Manifest = {
    "code": {"inline": {"files": {"digits.py": "x = 1\n"}}},
    "checkpoint": {"uri": "s3://bucket/p", "s3": {"credentialsSecretName": "digits-s3"}},
    "resources": {"limits": {"nvidia.com/gpu": 4, "memory": "8Gi"}, "requests": {"cpu": 2}},
    "podTemplate": {
        "metadata": {"labels": {"team": "vision", Label.JOB.value: "stolen"}, "annotations": {"a": "b"}},
        "spec": {
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "containers": [
                {
                    "name": "trainer",
                    "env": [{"name": "OMP_NUM_THREADS", "value": "4"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                },
                {"name": "sidecar", "image": "proxy:1"},
            ],
        },
    },
}


def rendered(rank: int = 1, spec: Manifest | None = None, status: Manifest | None = None) -> Manifest:
    return render_pod(context(status, spec=spec, config=Config(runtime_image="runtime:1")), rank)


def trainer(manifest: Manifest) -> Manifest:
    return next(c for c in manifest["spec"]["containers"] if c["name"] == "trainer")


def env(manifest: Manifest) -> dict[str, str]:
    return {e["name"]: e.get("value", "") for e in trainer(manifest)["env"]}


@pytest.mark.parametrize("spec", [None, FULL], ids=["small", "full"])
def test_kubernetes_takes_all_of_it(spec: Manifest | None) -> None:
    ctx = context(None, spec=spec)
    for manifest in [rendered(spec=spec), *(c.manifest for c in (*job_children(ctx), *attempt_children(ctx)))]:
        kubernetes_validate.validate(manifest, "1.36", strict=True)


def test_a_pod_is_restricted() -> None:
    made = rendered(spec=FULL)
    assert made["spec"]["automountServiceAccountToken"] is False
    assert made["spec"]["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for container in made["spec"]["containers"]:
        context_ = container["securityContext"]
        assert context_["allowPrivilegeEscalation"] is False
        assert context_["capabilities"] == {"drop": ["ALL"]}
        assert context_["readOnlyRootFilesystem"] is True


def test_names_say_who_it_is() -> None:
    made = rendered(rank=1)
    assert made["metadata"]["name"] == made["spec"]["hostname"] == "digits-1-1"
    assert made["spec"]["subdomain"] == "digits"
    assert (
        made["metadata"]["labels"] | {Label.ATTEMPT: "1", Label.NODE_RANK: "1", Label.JOB: "digits"}
        == made["metadata"]["labels"]
    )
    assert made["metadata"]["ownerReferences"][0]["uid"] == UID
    said = env(made)
    assert (said[Env.ATTEMPT], said[Env.NODE_RANK], said[Env.NODES], said[Env.UID]) == ("1", "1", "2", UID)
    assert said[Env.RENDEZVOUS_HOST] == "digits-1-0.digits.team.svc"
    assert said.keys() >= {v.value for v in Env} - {Env.AGENT_HOST, Env.CGROUP_DIR, Env.CODE_DIR, Env.RESULTS_DIR}


def test_dead_nodes_are_left_soon() -> None:
    seconds = {t["key"]: t["tolerationSeconds"] for t in rendered()["spec"]["tolerations"]}
    assert seconds == {"node.kubernetes.io/not-ready": 5, "node.kubernetes.io/unreachable": 5}


@pytest.mark.parametrize(
    ("spec", "policy", "secrets"),
    [
        (None, "Always", [{"name": "site"}]),
        ({"image": "mine:1"}, None, None),
        (
            {"podTemplate": {"spec": {"imagePullSecrets": [{"name": "mine"}]}}},
            "Always",
            [{"name": "site"}, {"name": "mine"}],
        ),
    ],
    ids=["the site's image", "an image of one's own", "a template"],
)
def test_the_sites_image_is_pulled_as_the_site_says(
    spec: Manifest | None, policy: str | None, secrets: list[Manifest] | None
) -> None:
    site = Config(runtime_image="runtime:1", runtime_pull_policy="Always", runtime_pull_secrets=("site",))
    made = render_pod(context(None, spec=spec, config=site), 0)
    assert trainer(made).get("imagePullPolicy") == policy
    assert made["spec"].get("imagePullSecrets") == secrets


def test_a_template_is_laid_over_and_changes_no_identity() -> None:
    made = rendered(spec=FULL)
    assert (made["spec"]["restartPolicy"], made["spec"]["hostname"]) == ("Never", "digits-1-1")
    assert made["metadata"]["labels"]["team"] == "vision"
    assert made["metadata"]["labels"][Label.JOB] == "digits"
    assert made["metadata"]["annotations"].items() >= {"a": "b"}.items()
    assert made["spec"]["nodeSelector"] == {"pool": "gpu"}
    assert {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"} in made["spec"]["tolerations"]
    assert len(made["spec"]["tolerations"]) == 3
    mine = trainer(made)
    assert mine["image"] == "runtime:1"
    assert env(made)["OMP_NUM_THREADS"] == "4"
    assert {m["mountPath"] for m in mine["volumeMounts"]} >= {"/data", "/dev/shm", "/tmp", "/run/thunderhead"}


def test_the_key_is_a_file_of_the_trainer_alone() -> None:
    sidecar = {"name": "sidecar", "image": "proxy:1"}
    made = rendered(spec={"podTemplate": {"spec": {"containers": [sidecar]}}})
    (volume,) = (v for v in made["spec"]["volumes"] if "secret" in v)
    assert volume["secret"] == {"secretName": f"digits-1-{UID[:8]}-key"}
    volumes = {c["name"]: c.get("volumeMounts", []) for c in made["spec"]["containers"]}
    assert {name: [m for m in mounts if m["name"] == volume["name"]] for name, mounts in volumes.items()} == {
        "trainer": [{"name": volume["name"], "mountPath": "/etc/thunderhead/key", "readOnly": True}],
        "sidecar": [],
    }
    assert env(made)["THUNDERHEAD_KEY_FILE"] == "/etc/thunderhead/key/attempt.key"


def test_an_attempt_has_as_many_nodes_as_it_was_promised_with_whatever_the_spec_says() -> None:
    ctx = context(running_status(nodes={"total": 3}), spec={"nodes": 1})
    frozen = frozen_job(ctx)
    assert (frozen.nodes, frozen.world_size, frozen.spec["nodes"]) == (3, 3, 3)
    assert [env(render_pod(ctx, rank))[Env.NODES] for rank in ctx.missing] == ["3", "3", "3"]
    assert attempt_key(ctx) != ()


@pytest.mark.parametrize(
    ("read", "where"),
    [
        pytest.param(r"nodes\.total\b", {"context.py"}, id="of an attempt: Context.num_nodes and nodes_of alone"),
        pytest.param(r"\bspec\.nodes\b", {"ledger.py", "world.py"}, id="of the spec: for what is promised next"),
    ],
)
def test_the_number_of_nodes_has_one_source(read: str, where: set[str]) -> None:
    sources = Path(plan.__path__[0]).glob("*.py")
    assert {path.name for path in sources if re.search(read, path.read_text())} == where


def test_a_single_node_has_nobody_to_know() -> None:
    alone = running_status(nodes={"total": 1})
    made = rendered(rank=0, spec={"nodes": 1}, status=alone)
    assert "secret" not in str(made["spec"]["volumes"])
    assert "THUNDERHEAD_KEY_FILE" not in env(made)
    assert attempt_key(context(alone, spec={"nodes": 1})) == ()


@pytest.mark.parametrize("name", REMOVABLE)
def test_what_is_rendered_can_be_taken_out(name: str) -> None:
    template = {"metadata": {"annotations": {"thunderhead.dev/without": f"{name}, "}}, "spec": {}}
    with_it, made = rendered(), rendered(spec={"podTemplate": template})
    holds = trainer if name.endswith("Probe") else lambda manifest: manifest["spec"]
    assert name in holds(with_it)
    assert name not in holds(made)
    assert trainer(made)["securityContext"] == trainer(with_it)["securityContext"]
    kubernetes_validate.validate(made, "1.36", strict=True)


def test_what_is_taken_out_can_be_written_anew() -> None:
    template = {
        "metadata": {"annotations": {"thunderhead.dev/without": "tolerations"}},
        "spec": {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
    }
    assert rendered(spec={"podTemplate": template})["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists"}]


def test_nobody_asks_an_agent_that_cannot_answer_yet() -> None:
    """A probe that fails leaves a Warning, and a startup probe that gives up ends the container."""
    made = trainer(rendered(spec={"startupDeadlineSeconds": 3600}))
    startup, ready = made["startupProbe"], made["readinessProbe"]
    assert startup["initialDelaySeconds"] >= 5
    assert startup["failureThreshold"] * startup["periodSeconds"] > 3600
    assert startup["httpGet"] == ready["httpGet"]


def test_credentials_are_references() -> None:
    variables = {
        e["name"]: e["valueFrom"]["secretKeyRef"]
        for e in trainer(rendered(spec=FULL))["env"]
        if e["name"].startswith("AWS")
    }
    assert {r["name"] for r in variables.values()} == {"digits-s3"}
    assert [name for name, r in variables.items() if r["optional"]] == ["AWS_SESSION_TOKEN"]
    assert not any(e["name"].startswith("AWS") for e in trainer(rendered())["env"])


def test_the_frozen_job_is_resolved_and_says_nothing_twice() -> None:
    frozen = frozen_job(context(None, spec=FULL))
    again = FrozenJob.model_validate_json(frozen.model_dump_json())
    assert again == frozen
    assert (frozen.processes_per_node, frozen.world_size, frozen.spec["processesPerNode"]) == (4, 8, 4)
    assert not {"code", "podTemplate"} & frozen.spec.keys()
    TrainingJobSpec.model_validate(frozen.spec)


def test_the_frozen_job_names_the_newest_checkpoint_that_status_knows_of() -> None:
    """Where none is found, it is missing: an attempt that knew nothing of it would begin from zero."""
    assert frozen_job(context(None, spec=FULL)).checkpoint is None
    newest = {"uri": "s3://b/n/j/u/steps/30/1-0.json", "step": 30, "committedAt": "2026-01-01T00:00:00Z"}
    known = frozen_job(context({**running_status(), "checkpoint": newest}, spec=FULL)).checkpoint
    assert known is not None
    assert known.model_dump(by_alias=True) == newest


def test_config_maps_are_immutable_and_bear_their_attempt() -> None:
    maps = {c.manifest["metadata"]["name"]: c.manifest for c in attempt_children(context(None, spec=FULL))}
    assert set(maps) == {"digits-1-uid-job", "digits-1-uid-job-code"}
    assert all(m["immutable"] for m in maps.values())
    assert maps["digits-1-uid-job-code"]["data"] == {"digits.py": "x = 1\n"}
    assert json.loads(maps["digits-1-uid-job"]["data"]["job.json"])["attempt"] == 1


def test_a_users_config_map_is_copied_binary_data_too() -> None:
    spec = {"code": {"configMap": {"name": "mine"}}}
    found = {"data": {"a.py": "1"}, "binaryData": {"b.bin": "AA=="}}
    made = attempt_children(context(None, spec=spec, code=found))[1].manifest
    assert (made["data"], made["binaryData"]) == ({"a.py": "1"}, {"b.bin": "AA=="})


def test_the_policy_lets_in_only_its_own_and_who_asks_agents() -> None:
    policy = next(c.manifest for c in job_children(context(None)) if c.manifest["kind"] == "NetworkPolicy")
    own, agents = policy["spec"]["ingress"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    labels = {Label.JOB.value: "digits", Label.JOB_UID.value: UID}
    assert own == {"from": [{"podSelector": {"matchLabels": labels}}]}, "without a namespace selector: its own alone"
    assert labels.items() <= rendered()["metadata"]["labels"].items()
    assert agents["ports"] == [{"port": 9400, "protocol": "TCP"}]


def test_a_node_that_was_just_lost_is_avoided() -> None:
    entry = {
        "attempt": 1,
        "cause": "NodeLost",
        "free": True,
        "culprit": {"node": "node-1"},
        "startedAt": "",
        "endedAt": "",
    }
    affinity = rendered(status=running_status(attempt=2, ledger=[entry]))["spec"]["affinity"]
    wish = affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["preference"]
    assert wish["matchExpressions"][0]["values"] == ["node-1"]
    assert "nodeAffinity" not in rendered()["spec"]["affinity"]


@pytest.mark.parametrize(
    ("spec", "processes"),
    [
        ({}, 1),
        ({"resources": {"limits": {"nvidia.com/gpu": 8}}}, 8),
        ({"resources": {"limits": {"nvidia.com/gpu": "8"}}}, 8),
        ({"resources": {"limits": {"nvidia.com/mig-1g.10gb": 2}}}, 2),
        ({"resources": {"limits": {"google.com/tpu": 4}}}, 4),
        ({"resources": {"limits": {"cpu": 8, "memory": "8Gi", "hugepages-2Mi": "1Gi"}}}, 1),
        ({"resources": {"limits": {"rdma/hca": 1}}}, 1),
        ({"resources": {"limits": {"nvidia.com/gpu": 8}}, "processesPerNode": 2}, 2),
    ],
)
def test_processes_follow_the_accelerators(spec: Manifest, processes: int) -> None:
    job = context(None, pod(0), spec=spec).job
    assert job.spec is not None
    assert processes_per_node(job.spec) == processes


@pytest.mark.parametrize(
    ("name", "amount", "expected"), [("amd.com/gpu", 1, True), ("gpu", 1, False), ("x/gpu", "500m", False)]
)
def test_what_is_an_accelerator(name: str, amount: int | str, expected: bool) -> None:
    assert is_accelerator(name, amount) is expected


def test_a_trainer_that_leaves_no_record_leaves_the_end_of_its_log() -> None:
    (trainer,) = render_pod(context(), 0)["spec"]["containers"]
    assert trainer["terminationMessagePolicy"] == "FallbackToLogsOnError"
