"""What people are told about a wrong job: where, what, which rule, what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.validate import InvalidJob, parse_spec, validate

ROOT = Path(__file__).parents[2]


def job(spec: dict[str, Any], /, **head: Any) -> dict[str, Any]:
    whole = {"module": {"class_path": "digits.Classifier"}, "checkpoint": {"uri": "s3://bucket"}} | spec
    return {
        "apiVersion": "thunderhead.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "digits"},
        "spec": whole,
    } | head


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"trainer": {"max_epoch": 3}},
            "spec.trainer.max_epoch = 3: unknown field; did you mean 'max_epochs'?",
        ),
        ({"Nodes": 3}, "spec.Nodes = 3: unknown field; did you mean 'nodes'?"),
        ({"nodes": 0}, "spec.nodes = 0: must be at least 1"),
        (
            {"checkpoint": {"uri": "s3://x/y"}},
            "spec.checkpoint.uri = 's3://x/y': must be s3://bucket, s3://bucket/prefix or file:///directory; "
            "a bucket's name has 3 to 63 characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or "
            "digit",
        ),
        (
            {"podTemplate": {"metadata": {"annotations": {"thunderhead.dev/without": "afinity"}}}},
            "spec.podTemplate.metadata.annotations[thunderhead.dev/without] = 'afinity': must name fields of affinity, "
            "topologySpreadConstraints, tolerations, startupProbe, readinessProbe; did you mean 'affinity'?",
        ),
        ({"nodes": "2"}, "spec.nodes = '2': must be an integer"),
        ({"nodes": True}, "spec.nodes = True: must be an integer"),
        ({"command": "tran"}, "spec.command = 'tran': must be fit or validate or test or predict"),
        (
            {"trainer": {"limit_val_batches": 0.5}},
            'spec.trainer.limit_val_batches = 0.5: must be an integer or a string; write "50%"',
        ),
        ({"num_nodes": 4}, "spec.num_nodes = 4: unknown field; write nodes"),
        (
            {"podTemplate": {"spec": {"restartPolicy": "Always"}}},
            "spec.podTemplate.spec.restartPolicy = 'Always': unknown field; the operator restarts; see spec.restarts",
        ),
        (
            {"podTemplate": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}},
            "spec.podTemplate.spec.containers[1]: appears twice: name must differ",
        ),
        (
            {"processesPerNode": "auto"},
            "spec.processesPerNode = 'auto': must be an integer or Auto; did you mean 'Auto'?",
        ),
        ({"trainer": {"precision": "x" * 200}}, "spec.trainer.precision = '" + "x" * 118 + "…: must have at most 32"),
        ({"module": {}}, "spec.module.class_path: is required"),
    ],
)
def test_one_line_says_it(spec: dict[str, Any], said: str) -> None:
    (problem,) = validate(job(spec))
    assert str(problem).startswith(said)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({"kind": "Trainingjob"}, "kind = 'Trainingjob': must be TrainingJob; did you mean 'TrainingJob'?"),
        ({"apiVersion": "v1"}, "apiVersion = 'v1': must be thunderhead.dev/v1alpha1"),
        ({"metadata": {}}, "metadata.name: is required"),
        ({"metadata": None}, "metadata: must be an object; it holds the job's name"),
        ({"metadata": {"name": "a" * 41}}, f"metadata.name = '{'a' * 41}': must be at most 40 characters"),
        ({"metadata": {"generateName": "A-"}}, "metadata.name = 'A-00000': must begin with a letter"),
        ({"Spec": {}}, "Spec: unknown field; did you mean 'spec'?"),
        ({"spec": 3}, "spec = 3: must be an object"),
    ],
)
def test_the_head_is_looked_at_too(head: dict[str, Any], said: str) -> None:
    (problem,) = validate(job({}, **head))
    assert str(problem).startswith(said)


def test_every_problem_is_named_at_once() -> None:
    wrong = job({"nodes": 0, "seed": -1, "trainer": {"max_epoch": 3}}, metadata={"name": "A"})
    assert {problem.path for problem in validate(wrong)} == {
        "metadata.name",
        "spec.nodes",
        "spec.seed",
        "spec.trainer.max_epoch",
    }
    with pytest.raises(InvalidJob) as refused:
        parse_spec(wrong)
    assert len(str(refused.value).splitlines()) == 4


def test_what_is_no_object_is_said() -> None:
    (problem,) = validate(["not", "a", "job"])  # type: ignore[arg-type]  # what a file may hold
    assert problem.rule == "must be an object"


def test_numbers_arrive_as_the_server_would_send_them() -> None:
    """1.0 is stored as 1, so a module gets the same from a file on one machine as from the cluster."""
    spec = parse_spec(job({"module": {"class_path": "a.B", "init_args": {"p": 1.0, "lr": 0.5, "none": None}}}))
    assert repr(spec.module.init_args) == "{'p': 1, 'lr': 0.5, 'none': None}"


def test_the_object_given_stays_as_it_was() -> None:
    given = job({"seed": None})
    before = yaml.safe_dump(given)
    parse_spec(given)
    assert yaml.safe_dump(given) == before


def test_defaults_are_those_of_the_models() -> None:
    written = {"module": {"class_path": "a.B"}, "checkpoint": {"uri": "s3://bucket"}}
    assert parse_spec(job(written)) == TrainingJobSpec.model_validate(written)


EXAMPLES = sorted((ROOT / "examples").rglob("job*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.relative_to(ROOT)))
def test_examples_are_valid(file: Path) -> None:
    jobs = [each for each in yaml.safe_load_all(file.read_text()) if each and each["kind"] == "TrainingJob"]
    assert jobs
    assert [problem for each in jobs for problem in validate(each)] == []


def documented_jobs() -> list[tuple[str, dict[str, Any]]]:
    """Every whole TrainingJob in a code block of the documentation."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in page.read_text().split("```yaml\n")[1:]:
            text = block.partition("```")[0]
            if "kind: TrainingJob" in text:
                found.append((page.name, yaml.safe_load(text)))
    return found


@pytest.mark.parametrize(("page", "written"), documented_jobs())
def test_documented_jobs_are_valid(page: str, written: dict[str, Any]) -> None:
    assert validate(written) == []
