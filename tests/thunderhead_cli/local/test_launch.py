"""From a pod's manifest to a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thunderhead_api.messages import FrozenJob
from thunderhead_cli.local.launch import Launch, plan_launch

POD: dict[str, Any] = {
    "metadata": {"name": "digits-1-0", "namespace": "default"},
    "spec": {
        "nodeName": "local-0",
        "containers": [
            {"name": "sidecar", "env": [{"name": "OF_SIDECAR", "value": "1"}]},
            {
                "name": "trainer",
                "env": [
                    {"name": "THUNDERHEAD_ATTEMPT", "value": "1"},
                    {"name": "THUNDERHEAD_NODE_RANK", "value": "0"},
                    {"name": "THUNDERHEAD_CODE_DIR", "value": "/etc/thunderhead/code"},
                    {"name": "THUNDERHEAD_KEY_FILE", "value": "/etc/thunderhead/key/attempt.key"},
                    {"name": "HOME", "value": "/tmp"},
                    {"name": "THUNDERHEAD_RENDEZVOUS_HOST", "value": "digits-1-0.digits.default.svc"},
                    {"name": "THUNDERHEAD_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "THUNDERHEAD_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                    {"name": "USERS", "value": "own"},
                ],
                "volumeMounts": [
                    {"name": "attempt-key", "mountPath": "/etc/thunderhead/key"},
                    {"name": "own", "mountPath": "/own"},
                    {"name": "job", "mountPath": "/etc/thunderhead/job"},
                    {"name": "code", "mountPath": "/etc/thunderhead/code"},
                    {"name": "scratch", "mountPath": "/run/thunderhead"},
                ],
            },
        ],
        "volumes": [
            {"name": "attempt-key", "secret": {"secretName": "digits-1-key"}},
            {"name": "own", "secret": {"secretName": "of-the-user"}},
            {"name": "job", "configMap": {"name": "digits-1"}},
            {"name": "code", "configMap": {"name": "digits-1-code"}},
            {"name": "scratch", "emptyDir": {}},
        ],
    },
}
MAPS = {"digits-1": {"job.json": "{}"}, "digits-1-code": {"digits.py": "import torch", "more.py": ""}}


SECRETS = {"digits-1-key": {"attempt.key": "abcd"}}


def launch(environment: dict[str, str] | None = None, results: Path | None = None) -> Launch:
    return plan_launch(
        POD,
        MAPS,
        SECRETS,
        directory=Path("/run-1/pod"),
        here=Path("/here"),
        rendezvous_port=40000,
        environment={"CUDA_VISIBLE_DEVICES": ""} | (environment or {}),
        results=results,
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("THUNDERHEAD_ATTEMPT", "1"),
        ("THUNDERHEAD_POD", "digits-1-0"),
        ("THUNDERHEAD_NODE", "local-0"),
        ("THUNDERHEAD_RENDEZVOUS_HOST", "127.0.0.1"),
        ("THUNDERHEAD_RENDEZVOUS_PORT", "40000"),
        ("THUNDERHEAD_AGENT_HOST", "127.0.0.1"),
        ("THUNDERHEAD_AGENT_PORT", "0"),
        ("THUNDERHEAD_JOB_FILE", "/run-1/pod/root/etc/thunderhead/job/job.json"),
        ("THUNDERHEAD_CODE_DIR", "/run-1/pod/root/etc/thunderhead/code"),
        ("THUNDERHEAD_RUN_DIR", "/run-1/pod/run"),
        ("USERS", "own"),
    ],
)
def test_environment(variable: str, value: str) -> None:
    assert launch().env[variable] == value


@pytest.mark.parametrize(
    ("results", "expected"), [(None, "/run-1/pod/run"), (Path("/run-1/results"), "/run-1/results")]
)
def test_results_of_all_attempts_go_to_one_directory_by_relative_paths_too(results: Path | None, expected: str) -> None:
    planned = launch(results=results)
    assert (planned.env["THUNDERHEAD_RESULTS_DIR"], str(planned.cwd)) == (expected, expected)
    assert planned.port_file == Path("/run-1/pod/run/agent.port"), "what belongs to the pod stays with it"


def test_secrets_and_sidecars_stay_out_and_the_commands_environment_comes_in() -> None:
    env = launch(
        {"AWS_SECRET_ACCESS_KEY": "mine", "PATH": "/bin", "THUNDERHEAD_ATTEMPT": "9", "OMP_NUM_THREADS": "2"}
    ).env
    assert env["AWS_SECRET_ACCESS_KEY"] == "mine"
    assert env["PATH"] == "/bin"
    assert env["OMP_NUM_THREADS"] == "2"
    assert env["THUNDERHEAD_ATTEMPT"] == "1"
    assert "OF_SIDECAR" not in env
    assert "THUNDERHEAD_LEFT_OVER" not in launch({"THUNDERHEAD_LEFT_OVER": "1"}).env


def test_config_maps_become_files_where_the_environment_points() -> None:
    plan = launch()
    key = Path(plan.env["THUNDERHEAD_KEY_FILE"])
    assert key == Path("/run-1/pod/root/etc/thunderhead/key/attempt.key")
    assert plan.private == {key}
    assert plan.files == {
        key: "abcd",
        Path(plan.env["THUNDERHEAD_JOB_FILE"]): "{}",
        Path(plan.env["THUNDERHEAD_CODE_DIR"]) / "digits.py": "import torch",
        Path(plan.env["THUNDERHEAD_CODE_DIR"]) / "more.py": "",
    }


def test_missing_config_map_is_not_run_over() -> None:
    with pytest.raises(KeyError, match="digits-1"):
        plan_launch(POD, {}, {}, directory=Path("/x"), here=Path("/here"), rendezvous_port=1, environment={})


def test_job_without_code_finds_it_where_the_command_was_started() -> None:
    trainer = {"name": "trainer", "env": []}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [trainer]}}
    plan = plan_launch(
        pod, {}, {}, directory=Path("/x"), here=Path("/here"), rendezvous_port=1, environment={"HOME": "/home/me"}
    )
    assert plan.env["THUNDERHEAD_CODE_DIR"] == "/here"
    assert plan.env["HOME"] == "/home/me"


@pytest.mark.parametrize(("visible", "share"), [("0,1,2,3", "0,1"), ("5", "")])
def test_pod_gets_its_share_of_the_gpus(visible: str, share: str) -> None:
    job = FrozenJob(
        namespace="default", name="digits", uid="u", attempt=1, nodes=2, processes_per_node=2, spec_hash="h", spec={}
    )
    maps = MAPS | {"digits-1": {"job.json": job.model_dump_json(by_alias=True)}}
    plan = plan_launch(
        POD,
        maps,
        {},
        directory=Path("/x"),
        here=Path("/here"),
        rendezvous_port=1,
        environment={"CUDA_VISIBLE_DEVICES": visible},
    )
    assert plan.env["CUDA_VISIBLE_DEVICES"] == share
