"""Reading job files: what is accepted, and what a user is told otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from thunderhead_cli.jobfile import JobFileError, problems_of, read_job_file

EXAMPLE = Path(__file__).parents[2] / "examples/digits/job.yaml"
JOB = """
apiVersion: thunderhead.dev/v1alpha1
kind: TrainingJob
metadata: {name: one}
spec: {module: {class_path: m.M}, checkpoint: {uri: "s3://bucket/x"}}
"""
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: code}\ndata: {m.py: 'import torch'}\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_example_is_valid() -> None:
    assert problems_of(read_job_file(EXAMPLE)) == []


def test_config_maps_beside_the_job_are_kept(tmp_path: Path) -> None:
    file = read_job_file(write(tmp_path / "job.yaml", f"{MAP}---\n{JOB}---\n"))
    assert file.job["metadata"]["name"] == "one"
    assert file.config_maps == {"code": {"m.py": "import torch"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds nothing; write exactly one object of kind TrainingJob"),
        (MAP, "holds ConfigMap; write exactly one"),
        (f"{JOB}---\n{JOB}", "holds TrainingJob, TrainingJob; write exactly one"),
        (
            "a: [1\n",
            "line 2, column 1: is no valid YAML: expected ',' or ']', but got '<stream end>' "
            "(while parsing a flow sequence that begins in line 1); close the bracket of line 1",
        ),
        (
            "a: 1\n b: 2\n",
            "line 2, column 3: is no valid YAML: mapping values are not allowed here; begin the keys of one mapping",
        ),
        ("- a", "holds a list where an object with a kind is expected"),
        ("a: " + "[" * 2_000 + "]" * 2_000, "is nested far more than 100 levels deep; put such data into a file"),
        ("a: " + "1" * 5_000, "holds a value that no job can hold: Exceeds the limit"),
        ("kind: TrainingJob\nspec: {nodes: 1, nodes: 2}", "line 2: the key 'nodes' is written twice"),
    ],
)
def test_refused_files(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path / "job.yaml", text)
    with pytest.raises(JobFileError) as caught:
        read_job_file(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match="cannot be read: No such file"):
        read_job_file(tmp_path / "none.yaml")
