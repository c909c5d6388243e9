"""What the API server takes and refuses, by its own code, and that our validation says the same of every object."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.structural import spec_schema
from thunderhead_api.validate import parse_spec, validate

pytestmark = pytest.mark.timeout(900)  # the first run compiles the judge

Judge = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]

MINIMAL: dict[str, Any] = {
    "apiVersion": "thunderhead.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "digits", "namespace": "default"},
    "spec": {"module": {"class_path": "digits.Classifier"}, "checkpoint": {"uri": "s3://bucket/prefix"}},
}
REMOVED = object()


def job(**places: Any) -> dict[str, Any]:
    """The minimal job with values at dotted places (``__`` for the dot); REMOVED takes a field away."""
    changed = copy.deepcopy(MINIMAL)
    for place, value in places.items():
        put(changed, place.split("__"), value)
    return changed


def put(target: Any, path: Sequence[str], value: Any) -> None:
    """Sets one place, making the objects on the way."""
    for part in path[:-1]:
        target = target.setdefault(part, {})
    if value is REMOVED:
        target.pop(path[-1])
    else:
        target[path[-1]] = value


def rule(**fields: Any) -> dict[str, Any]:
    """A job with one restart rule."""
    return job(spec__restarts={"rules": [{"action": "Fail", **fields}]})


def container(**fields: Any) -> dict[str, Any]:
    """A job whose pod template says something of our container."""
    return job(spec__podTemplate={"spec": {"containers": [{"name": "trainer", **fields}]}})


GOOD = {
    "minimal": job(),
    "longest name": job(metadata__name="a" * 40),
    "lightning section pasted in": job(
        spec__trainer={
            "max_epochs": 20,
            "precision": "bf16-mixed",
            "gradient_clip_val": 1.0,
            "limit_val_batches": "100%",
            "limit_train_batches": 25,
            "val_check_interval": "25%",
            "logger": None,
            "callbacks": [{"class_path": "thunderhead.callbacks.EarlyStopping", "init_args": {"monitor": "val_loss"}}],
        }
    ),
    "one batch, spelled out": job(spec__trainer__limit_val_batches="1 batch"),
    "no validation": job(spec__trainer__limit_val_batches=0),
    "clip fraction": job(spec__trainer__gradient_clip_val=0.5),
    "no logger": job(spec__trainer__logger=[]),
    "free init_args": job(spec__module__init_args={"lr": 0.02, "nested": [{"class_path": "a.B"}, None, 1.0]}),
    "auto processes": job(spec__processesPerNode="Auto"),
    "eight processes": job(spec__processesPerNode=8),
    "null is left out": job(spec__seed=None, spec__nodes=None),
    "config map": job(spec__code={"configMap": {"name": "digits-code"}}),
    "inline": job(spec__code={"inline": {"files": {"digits.py": "import torch\n"}}}),
    "gpu": job(spec__resources={"limits": {"nvidia.com/gpu": 8, "memory": "64Gi", "cpu": "1.5"}}),
    "gpu requested as limited": job(
        spec__resources={"limits": {"nvidia.com/gpu": 8}, "requests": {"nvidia.com/gpu": "8", "cpu": "500m"}}
    ),
    "file uri": job(spec__checkpoint__uri="file:///data/checkpoints"),
    "own server": job(spec__checkpoint__s3={"endpoint": "http://s3.example:9000", "credentialsSecretName": "keys"}),
    "resume from a uri": job(spec__checkpoint__resume="s3://other/ns/job/uid/steps/100"),
    "rule on message": rule(message="NCCL (error|timeout)"),
    "rule on drain": job(spec__restarts={"rules": [{"reasons": ["Drained"], "action": "RestartFree"}]}),
    "toleration only": job(spec__podTemplate={"spec": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}}),
    "sidecar": job(spec__podTemplate={"spec": {"containers": [{"name": "proxy", "image": "proxy:1"}]}}),
    "port without protocol": container(ports=[{"containerPort": 8080}]),
    "volume": job(spec__podTemplate={"spec": {"volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}]}}),
    "generated name": job(metadata__generateName="digits-", metadata__name="digits-x2b4c"),
    "all limits": job(
        spec__nodes=2_000, spec__ttlSecondsAfterFinished=0, spec__activeDeadlineSeconds=1, spec__suspend=True
    ),
}

# name → object, the field that must be named, a word that must be in the message
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no nodes": (job(spec__nodes=0), "spec.nodes", "greater than or equal to 1"),
    "long name": (job(metadata__name="a" * 80), "metadata.name", "40"),
    "name begins with a digit": (job(metadata__name="9lives"), "metadata.name", "match"),
    "upper case name": (job(metadata__name="Digits"), "metadata.name", ""),
    "half a scheme": (job(spec__checkpoint__uri="s3:/x"), "spec.checkpoint.uri", "s3://bucket"),
    "bucket in upper case": (job(spec__checkpoint__uri="s3://Bucket/x"), "spec.checkpoint.uri", "s3://bucket"),
    "query in uri": (job(spec__checkpoint__uri="s3://bucket/x?y=1"), "spec.checkpoint.uri", "s3://bucket"),
    "relative file uri": (job(spec__checkpoint__uri="file://data"), "spec.checkpoint.uri", "file:///"),
    "misspelt trainer argument": (job(spec__trainer__max_epoch=3), "spec.trainer.max_epoch", "unknown field"),
    "misspelt field": (job(spec__node=3), "spec.node", "unknown field"),
    "limit of 1.0": (job(spec__trainer__limit_val_batches=1.0), "spec.trainer.limit_val_batches", '"100%"'),
    "overfit on 1": (job(spec__trainer__overfit_batches=1), "spec.trainer.overfit_batches", "1 batch"),
    "interval of 1.0": (job(spec__trainer__val_check_interval=1.0), "spec.trainer.val_check_interval", '"100%"'),
    "share as a number": (
        job(spec__trainer__limit_val_batches=0.5),
        "spec.trainer.limit_val_batches",
        "integer,string",
    ),
    "share in words": (job(spec__trainer__limit_val_batches="half"), "spec.trainer.limit_val_batches", '"50%"'),
    "two code sources": (
        job(spec__code={"configMap": {"name": "c"}, "inline": {"files": {"a.py": ""}}}),
        "spec.code",
        "exactly one of configMap and inline",
    ),
    "no code source": (job(spec__code={}), "spec.code", "exactly one"),
    "negative deadline": (job(spec__activeDeadlineSeconds=-1), "spec.activeDeadlineSeconds", "greater than"),
    "negative time to live": (job(spec__ttlSecondsAfterFinished=-1), "spec.ttlSecondsAfterFinished", "greater than"),
    "devices": (job(spec__trainer__devices=4), "spec.trainer.devices", "spec.processesPerNode"),
    "devices by word": (job(spec__trainer__devices="auto"), "spec.trainer.devices", "spec.processesPerNode"),
    "num_nodes": (job(spec__trainer__num_nodes=2), "spec.trainer.num_nodes", "spec.nodes"),
    "root directory": (job(spec__trainer__default_root_dir="/x"), "spec.trainer.default_root_dir", "scratch"),
    "unknown strategy": (job(spec__trainer__strategy="deepspeed"), "spec.trainer.strategy", "ddp"),
    "no module": (job(spec__module=REMOVED), "spec.module", "Required"),
    "no class path": (job(spec__module={}), "spec.module.class_path", "Required"),
    "class path of one part": (job(spec__module={"class_path": "Net"}), "spec.module.class_path", "module.Class"),
    "no checkpoint": (job(spec__checkpoint=REMOVED), "spec.checkpoint", "Required"),
    "no spec": (job(spec=REMOVED), "spec", "Required"),
    "s3 for a file": (
        job(spec__checkpoint={"uri": "file:///x", "s3": {"region": "r"}}),
        "spec.checkpoint.s3",
        "leave it out",
    ),
    "password in the endpoint": (
        job(spec__checkpoint__s3={"endpoint": "http://u:p@host"}),
        "spec.checkpoint.s3.endpoint",
        "without path or credentials",
    ),
    "auto in lower case": (job(spec__processesPerNode="auto"), "spec.processesPerNode", "integer or Auto"),
    "no processes": (job(spec__processesPerNode=0), "spec.processesPerNode", "greater than"),
    "unknown command": (job(spec__command="train"), "spec.command", "fit"),
    "number as text": (job(spec__nodes="2"), "spec.nodes", "integer"),
    "precision as a number": (job(spec__trainer__precision=32), "spec.trainer.precision", "string"),
    "clip as text": (job(spec__trainer__gradient_clip_val="1.0"), "spec.trainer.gradient_clip_val", "number"),
    "clip below zero": (job(spec__trainer__gradient_clip_val=-0.5), "spec.trainer.gradient_clip_val", "greater than"),
    "clip by what": (job(spec__trainer__gradient_clip_algorithm="sum"), "spec.trainer.gradient_clip_algorithm", "norm"),
    "directory in a file name": (
        job(spec__code={"inline": {"files": {"../a.py": ""}}}),
        "spec.code.inline.files",
        "without directories",
    ),
    "empty inline": (job(spec__code={"inline": {"files": {}}}), "spec.code.inline.files", "at least 1"),
    "negative memory": (
        job(spec__resources={"limits": {"memory": "-1Gi"}}),
        "spec.resources.limits[memory]",
        "quantity",
    ),
    "fractional number": (job(spec__resources={"limits": {"cpu": 0.5}}), "spec.resources.limits.cpu", "integer,string"),
    "bad resource name": (job(spec__resources={"limits": {"a b": 1}}), "spec.resources.limits", "nvidia.com/gpu"),
    "gpu requested only": (
        job(spec__resources={"requests": {"nvidia.com/gpu": 1}}),
        "spec.resources.requests",
        "limits",
    ),
    "gpu requested otherwise": (
        job(spec__resources={"limits": {"nvidia.com/gpu": 2}, "requests": {"nvidia.com/gpu": 1}}),
        "spec.resources.requests",
        "limits",
    ),
    "rule that says nothing": (rule(), "spec.restarts.rules[0]", "at least one of"),
    "rule on what is no failure": (rule(reasons=["Suspended"]), "spec.restarts.rules[0].reasons", "no failures"),
    "rule with a broken pattern": (rule(message="("), "spec.restarts.rules[0]", "regular expression"),
    "rule with look-ahead": (rule(message="(?=a)"), "spec.restarts.rules[0]", "regular expression"),
    "rule without action": (
        job(spec__restarts={"rules": [{"exitCodes": [1]}]}),
        "spec.restarts.rules[0].action",
        "Required",
    ),
    "exit code 256": (rule(exitCodes=[256]), "spec.restarts.rules[0].exitCodes[0]", "less than"),
    "negative budget": (job(spec__restarts={"maxRestarts": -1}), "spec.restarts.maxRestarts", "greater than"),
    "misspelt container field": (container(imagee="x"), "spec.podTemplate.spec.containers[0].imagee", "unknown field"),
    "container without a name": (
        job(spec__podTemplate={"spec": {"containers": [{"image": "x"}]}}),
        "spec.podTemplate.spec.containers[0].name",
        "Required",
    ),
    "the same container twice": (
        job(spec__podTemplate={"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}),
        "spec.podTemplate.spec.containers[1]",
        "Duplicate",
    ),
    "restart policy": (
        job(spec__podTemplate={"spec": {"restartPolicy": "Always"}}),
        "spec.podTemplate.spec.restartPolicy",
        "unknown field",
    ),
    "too many rules": (
        job(spec__restarts={"rules": [{"action": "Fail", "exitCodes": [1]}] * 33}),
        "spec.restarts.rules",
        "32",
    ),
}


@pytest.fixture(scope="module")
def verdicts(judge: Judge) -> dict[str, dict[str, Any]]:
    """What the API server's code says of every object in the tables, all asked in one run."""
    objects = {**GOOD, **{name: bad for name, (bad, _, _) in BAD.items()}}
    report = judge([{"text": json.dumps(each)} for each in objects.values()])
    assert report["crd"] == []
    return dict(zip(objects, report["verdicts"], strict=True))


@pytest.mark.parametrize("name", GOOD)
def test_takes(name: str, verdicts: dict[str, dict[str, Any]]) -> None:
    assert verdicts[name]["errors"] == []
    assert validate(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_refuses_and_names_the_field(name: str, verdicts: dict[str, dict[str, Any]]) -> None:
    bad, field, word = BAD[name]
    errors = verdicts[name]["errors"]
    assert any(error["field"] == field and word in error["detail"] for error in errors), errors
    found = validate(bad)
    place = field.replace("limits.cpu", "limits[cpu]")
    assert any(problem.path.startswith(place) for problem in found), found


@pytest.mark.parametrize("name", GOOD)
def test_stores_what_we_parse(name: str, verdicts: dict[str, dict[str, Any]]) -> None:
    """Our defaults are the server's, and what it stores is a fixed point: applying a job twice changes nothing."""
    stored = verdicts[name]["stored"]
    assert parse_spec(GOOD[name]) == TrainingJobSpec.model_validate(stored["spec"])


def test_storing_twice_changes_nothing(judge: Judge, verdicts: dict[str, dict[str, Any]]) -> None:
    once = [verdicts[name]["stored"] for name in GOOD]
    twice = judge([{"text": json.dumps(each)} for each in once])["verdicts"]
    assert [verdict["stored"]["spec"] for verdict in twice] == [each["spec"] for each in once]


def test_defaults_are_materialised(verdicts: dict[str, dict[str, Any]]) -> None:
    assert verdicts["minimal"]["stored"]["spec"] == MINIMAL["spec"] | {
        "command": "fit",
        "nodes": 1,
        "processesPerNode": "Auto",
        "suspend": False,
        "startupDeadlineSeconds": 1800,
        "terminationGracePeriodSeconds": 120,
        "restarts": {"maxRestarts": 3},
        "checkpoint": {"uri": "s3://bucket/prefix", "keep": 3, "resume": "Auto", "settingsFrom": "Checkpoint"},
    }


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ("them", "them", False),
        (None, None, False),
        ("them", "us", True),
        (None, "them", True),
        ("them", None, True),
    ],
)
def test_managed_by_is_immutable(judge: Judge, before: str | None, after: str | None, refused: bool) -> None:
    old, new = job(spec__managedBy=before), job(spec__managedBy=after)
    for each in (old, new):
        each["metadata"]["resourceVersion"] = "1"
    errors = judge([{"text": json.dumps(new), "old": json.dumps(old)}])["verdicts"][0]["errors"]
    assert [error["field"] for error in errors] == (["spec.managedBy"] if refused else [])


VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 2, 1.0, 0.5, -0.5, 255, 256, 2**31, 2**53, 2**62, 1e300, True, False, None),
    *("", "a", "Auto", "auto", "1", "50%", "1 batch", "01:02:03:04", "s3://bucket/x", "file:///x", "http://a", "norm"),
    *(
        "a.B",
        "a\n",
        "é",
        "x" * 300,
        "x" * 5000,
        [],
        [0],
        ["a"],
        [None],
        {},
        {"a": 1},
        {"name": "a"},
        {"class_path": "a.B"},
    ),
)


def places(schema: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every field of the spec, those in lists and maps apart, and some that do not exist."""
    for name, field in schema.get("properties", {}).items():
        if name != "podTemplate":
            yield (*path, name)
            yield from places(field, (*path, name))
    if "properties" in schema:
        yield (*path, "unheard_of")


def test_says_the_same_as_the_server_of_every_field(judge: Judge) -> None:
    """Every field of the spec × a handful of values of every kind."""
    cases = []
    for path in places(spec_schema(), ("spec",)):
        for value in VALUES:
            changed = job(spec__code={"inline": {"files": {"a.py": ""}}}) if "inline" in path else job()
            put(changed, path, value)
            cases.append(changed)
    assert len(cases) > 2000
    assert_same_verdicts(judge, cases)


def test_says_the_same_as_the_server_of_rules_resources_and_templates(judge: Judge) -> None:
    """Places inside lists and maps, drawn at random."""
    seed = random.SystemRandom().randrange(2**32)
    draw = random.Random(seed)
    print(f"seed {seed}")
    cases = []
    for _ in range(1000):
        fields = {key: draw.choice(VALUES) for key in ("exitCodes", "reasons", "message") if draw.random() < 0.5}
        limits, requests = ({draw.choice(("cpu", "x.y/z", "a b", "")): draw.choice(VALUES)} for _ in range(2))
        template = {draw.choice(("name", "image", "ports", "env", "tty", "resources")): draw.choice(VALUES)}
        cases.append(rule(**fields))
        cases.append(job(spec__resources={"limits": limits, "requests": requests}))
        cases.append(job(spec__podTemplate={"spec": {"containers": [{"name": "a", **template}]}}))
        cases.append(job(spec__podTemplate={"spec": {draw.choice(TEMPLATE_FIELDS): draw.choice(VALUES)}}))
    assert_same_verdicts(judge, cases)


TEMPLATE_FIELDS = sorted(spec_schema()["properties"]["podTemplate"]["properties"]["spec"]["properties"])


def assert_same_verdicts(judge: Judge, cases: list[dict[str, Any]]) -> None:
    """The server takes exactly the objects that we take."""
    verdicts = judge([{"text": json.dumps(each)} for each in cases])["verdicts"]
    differing = [
        (each["spec"], [str(problem) for problem in validate(each)], verdict["errors"])
        for each, verdict in zip(cases, verdicts, strict=True)
        if bool(validate(each)) != bool(verdict["errors"])
    ]
    assert not differing, f"{len(differing)} of {len(cases)}; the first: {differing[:5]}"
