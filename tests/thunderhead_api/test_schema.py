"""The generated CRD: fresh, quoted, bounded, and wide enough for every status the operator writes."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from thunderhead_api.schema import CHART_CRD_FILE, CRD_FILE, crd, main, object_schema, render, yaml_lines
from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.structural import from_model, spec_schema, status_schema

ROOT = Path(__file__).parents[2]
Judge = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]


def every_place(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every place of a schema with its path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from every_place(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from every_place(schema[key], f"{path}[]")


@pytest.mark.parametrize("file", [CRD_FILE, CHART_CRD_FILE], ids=["crds", "chart"])
def test_is_fresh(file: Path) -> None:
    assert file.read_text() == render(), "run `python -m thunderhead_api.schema`"


def test_check_says_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_yaml_is_read_back_whole() -> None:
    assert yaml.safe_load(render()) == crd()


def test_yaml_keeps_what_would_change_its_kind() -> None:
    tricky = {
        "kinds": ["on", "1.0", "2026-01-01", "a: b", "é\n\"'", "", None, True, 0.5],
        "nested": [{"a": [1], "b": {}}, []],
    }
    assert yaml.safe_load("\n".join(yaml_lines({"k": tricky}))) == {"k": tricky}


def test_no_field_has_a_name_that_yaml_reads_as_something_else() -> None:
    names = {path.rpartition(".")[2] for path, _ in every_place(object_schema())}
    assert not {name for name in names if re.fullmatch(r"(?i)y|n|yes|no|on|off|true|false|null|~|[0-9.]+", name)}


def test_everything_of_ours_is_bounded() -> None:
    """Pod fields are bounded where they repeat; the API server bounds the rest by the size of the request."""
    unbounded = []
    for path, place in every_place(spec_schema()):
        if path.startswith(".podTemplate"):
            continue
        kind = "string" if "x-kubernetes-int-or-string" in place else place.get("type")
        is_map = "additionalProperties" in place or "x-kubernetes-preserve-unknown-fields" in place
        wanted = {
            "string": [] if "enum" in place else ["maxLength"],
            "array": ["maxItems"],
            "object": ["maxProperties"] if is_map else [],
            "integer": ["minimum", "maximum"],
            "number": ["minimum", "maximum"],
        }.get(str(kind), [])
        unbounded += [f"{path} without {bound}" for bound in wanted if bound not in place]
    assert unbounded == []


def test_every_field_of_ours_explains_itself() -> None:
    places = [*every_place(spec_schema()), *every_place(status_schema())]
    silent = [
        path
        for path, place in places
        if path and not path.endswith("[]") and not path.startswith(".podTemplate.") and not place.get("description")
    ]
    assert silent == []


def test_pod_template_snapshot_is_fresh() -> None:
    generator = load(ROOT / "tools" / "pod_template.py")
    assert json.loads(generator.SNAPSHOT.read_text()) == generator.snapshot(), "run `python tools/pod_template.py`"


def load(file: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_union_without_a_structural_form_is_refused() -> None:
    class Either(BaseModel):
        field: bool | list[int]

    with pytest.raises(ValueError, match="no structural form for a union"):
        from_model(Either, mode="validation")


@pytest.mark.timeout(900)
def test_a_full_status_survives_the_server(judge: Judge) -> None:
    """Pruning drops what the schema does not know without a word, so every field must come back."""
    status = full(TrainingJobStatus)
    status["progress"]["metrics"] |= {"loss": 0.25, "diverged": "NaN", "whole": 3}
    head = {
        "apiVersion": "thunderhead.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "a", "namespace": "b", "resourceVersion": "1"},
        "spec": {"module": {"class_path": "a.B"}, "checkpoint": {"uri": "s3://bucket"}},
    }
    case = {"text": json.dumps(head | {"status": status}), "old": json.dumps(head), "status": True}
    verdict = judge([case])["verdicts"][0]
    assert verdict["errors"] == []
    assert verdict["stored"]["status"] == status
    TrainingJobStatus.model_validate(verdict["stored"]["status"])


def full(model: type[BaseModel]) -> dict[str, Any]:
    """A value for every field of a model, computed ones included, as JSON has them."""
    example = model.model_validate({name: value_of(field.annotation) for name, field in model.model_fields.items()})
    found: dict[str, Any] = example.model_dump(mode="json", by_alias=True)
    assert None not in found.values(), found
    return found


def value_of(annotation: Any) -> Any:
    """Some value of the type, never None."""
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    origin = get_origin(annotation)
    if origin is list:
        return [value_of(arguments[0])]
    if origin is dict:
        return {"name": value_of(arguments[1])}
    if origin is Literal:
        return arguments[0]
    if origin in (Union, UnionType) or hasattr(annotation, "__metadata__"):
        return value_of(arguments[0])
    if issubclass(annotation, BaseModel):
        return full(annotation)
    return next(iter(annotation)) if hasattr(annotation, "__members__") else annotation(7)
