"""Variables and job file: read together, checked against each other, refused with the variable's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thunderhead_agent.settings import SettingsError, cpu_quantity, default_threads, read_settings
from thunderhead_api import treaty
from thunderhead_api.messages import FrozenJob
from thunderhead_api.treaty import Env

KEY = bytes(range(100, 132))


def write_job(directory: Path, **changes: Any) -> Path:
    fields: dict[str, Any] = {
        "namespace": "team",
        "name": "digits",
        "uid": "u-1",
        "attempt": 3,
        "nodes": 2,
        "processes_per_node": 4,
        "spec_hash": "h",
        "spec": {"terminationGracePeriodSeconds": 45},
    }
    path = directory / "job.json"
    path.write_text(FrozenJob(**(fields | changes)).model_dump_json(by_alias=True))
    return path


def environ(job_file: Path, **given: str) -> dict[str, str]:
    key_file = job_file.with_name("attempt.key")
    key_file.write_text(KEY.hex())
    return {
        Env.JOB_FILE: str(job_file),
        Env.NODE_RANK: "1",
        Env.RENDEZVOUS_HOST: "digits-3-0.digits.team.svc",
        Env.KEY_FILE: str(key_file),
        **given,
    }


def test_a_pod_needs_little_else_than_its_job_and_its_place(tmp_path: Path) -> None:
    settings = read_settings(environ(write_job(tmp_path)))
    assert [settings.rank(i) for i in range(settings.processes)] == [4, 5, 6, 7]
    assert (settings.agent_port, settings.rendezvous_port) == (treaty.AGENT_PORT, treaty.RENDEZVOUS_PORT)
    assert (settings.pod, settings.agent_host, settings.grace_seconds) == ("digits-3-1", "", 45)
    assert settings.key == KEY
    assert KEY.hex() not in repr(settings)
    assert repr(KEY) not in repr(settings)
    assert str(settings.code_dir) == treaty.CODE_DIR
    assert str(settings.termination_file) == treaty.TERMINATION_FILE


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({Env.ATTEMPT: "4"}, "THUNDERHEAD_ATTEMPT=4"),
        ({Env.UID: "u-2"}, "THUNDERHEAD_UID=u-2"),
        ({Env.NODE_RANK: "2"}, "THUNDERHEAD_NODE_RANK=2"),
        ({Env.NODE_RANK: "one"}, "THUNDERHEAD_NODE_RANK='one'"),
        ({Env.AGENT_PORT: "-1"}, "THUNDERHEAD_AGENT_PORT='-1'"),
        ({Env.RENDEZVOUS_HOST: ""}, "THUNDERHEAD_RENDEZVOUS_HOST"),
        ({Env.JOB_FILE: "/nowhere/job.json"}, "THUNDERHEAD_JOB_FILE=/nowhere/job.json"),
        ({Env.KEY_FILE: ""}, "THUNDERHEAD_KEY_FILE is not set"),
        ({Env.KEY_FILE: "/nowhere/key"}, "THUNDERHEAD_KEY_FILE=/nowhere/key cannot be read: No such file"),
        ({Env.KEY_FILE: "/proc/self/comm"}, "THUNDERHEAD_KEY_FILE=/proc/self/comm holds no key; it must be 64"),
    ],
)
def test_what_cannot_work_is_refused_by_name(tmp_path: Path, given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        read_settings(environ(write_job(tmp_path)) | given)


def test_a_file_that_is_no_job_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text('{"name": "digits"}')
    with pytest.raises(SettingsError, match="is not a frozen job"):
        read_settings(environ(path))


@pytest.mark.parametrize(
    ("resources", "processes", "threads"),
    [
        ({}, 2, 1),
        ({"limits": {"cpu": 8}}, 2, 4),
        ({"limits": {"cpu": "7"}}, 2, 3),
        ({"limits": {"cpu": "500m"}}, 1, 1),
        ({"requests": {"cpu": "4"}}, 1, 4),
        ({"limits": {"memory": "1Gi"}, "requests": {"cpu": "4000m"}}, 2, 2),
        ({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}, 1, 2),
    ],
)
def test_threads_follow_from_the_spec_alone(resources: dict[str, Any], processes: int, threads: int) -> None:
    assert default_threads({"resources": resources}, processes) == threads


def test_threads_given_by_the_pod_win(tmp_path: Path) -> None:
    job = write_job(tmp_path, spec={"resources": {"limits": {"cpu": "16"}}})
    assert read_settings(environ(job)).threads == 4
    assert read_settings(environ(job, OMP_NUM_THREADS="3")).threads == 3


@pytest.mark.parametrize("text", ["four", "1Gi", ""])
def test_no_quantity_of_cpus(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity of CPUs"):
        cpu_quantity(text)
