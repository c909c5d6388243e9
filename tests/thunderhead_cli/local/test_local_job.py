"""What the local mode changes about a job, and what it says of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thunderhead_cli.jobfile import JobFile, JobFileError, read_job_file
from thunderhead_cli.local.local_job import localise
from thunderhead_cli.local.rundir import RunDir

EXAMPLE = Path(__file__).parents[3] / "examples/digits/job.yaml"
HEAD = {"apiVersion": "thunderhead.dev/v1alpha1", "kind": "TrainingJob"}
RUN = RunDir(Path("/runs/digits/1"))


def job_file(path: Path, **spec: Any) -> JobFile:
    base = {"module": {"class_path": "m.M"}, "checkpoint": {"uri": "s3://bucket/x", "s3": {"endpoint": "http://e"}}}
    return JobFile(path / "job.yaml", {**HEAD, "metadata": {"name": "one"}, "spec": base | spec}, {})


def test_example_needs_nothing_but_its_directory() -> None:
    local = localise(read_job_file(EXAMPLE), RUN, checkpoint_uri=None)
    assert list(local.config_maps["digits-code"]) == ["digits.py"]
    assert local.job["spec"]["checkpoint"] == {"uri": "file:///runs/digits/1/checkpoints", "everySteps": 20}
    assert any("the file says s3://checkpoints/digits" in note for note in local.notes)


@pytest.mark.parametrize(
    ("wanted", "uri", "s3"),
    [
        (None, "file:///runs/digits/1/checkpoints", None),
        ("job", "s3://bucket/x", {"endpoint": "http://e"}),
        ("s3://other", "s3://other", {"endpoint": "http://e"}),
        ("file:///data", "file:///data", None),
    ],
)
def test_checkpoints_go_where_the_user_says(tmp_path: Path, wanted: str | None, uri: str, s3: Any) -> None:
    checkpoint = localise(job_file(tmp_path), RUN, checkpoint_uri=wanted).job["spec"]["checkpoint"]
    assert (checkpoint["uri"], checkpoint.get("s3")) == (uri, s3)


def test_what_only_a_cluster_can_do_is_left_out_and_the_file_is_not_touched(tmp_path: Path) -> None:
    file = job_file(tmp_path, suspend=True, managedBy="kueue", ttlSecondsAfterFinished=1, nodes=2)
    spec = localise(file, RUN, checkpoint_uri=None).job["spec"]
    assert not {"suspend", "managedBy", "ttlSecondsAfterFinished"} & set(spec)
    assert spec["nodes"] == 2
    assert file.job["spec"]["suspend"] is True
    assert file.job["spec"]["checkpoint"]["uri"] == "s3://bucket/x"


def test_config_map_of_the_file_wins_over_its_directory(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("beside")
    file = job_file(tmp_path, code={"configMap": {"name": "code"}})
    assert localise(file, RUN, checkpoint_uri=None).config_maps == {"code": {"m.py": "beside"}}
    with_map = JobFile(file.path, file.job, {"code": {"m.py": "inside"}})
    assert localise(with_map, RUN, checkpoint_uri=None).config_maps == {"code": {"m.py": "inside"}}


def test_missing_code_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match=r"spec.code.configMap.name = 'code'.*put the Python files into"):
        localise(job_file(tmp_path, code={"configMap": {"name": "code"}}), RUN, checkpoint_uri=None)
