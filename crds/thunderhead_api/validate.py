"""Whether a whole TrainingJob object is valid: the API server's rules, without an API server.

Used by ``thunderhead validate``, by the local mode, and by the operator for objects that predate the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from thunderhead_api.extent import excess
from thunderhead_api.names import job_name_problem
from thunderhead_api.pod_fields import REMOVABLE, unwanted_fields
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.structural import spec_schema
from thunderhead_api.treaty import API_VERSION, KIND, Annotation
from thunderhead_api.walk import Problem, as_json, did_you_mean, no_json, problems, with_defaults

__all__ = ["InvalidJob", "Problem", "did_you_mean", "parse_spec", "validate"]

GENERATED_SUFFIX = "00000"
"""As long as what the API server puts after ``metadata.generateName``."""


class InvalidJob(ValueError):
    """The object is no valid TrainingJob; ``problems`` says why."""

    def __init__(self, problems: list[Problem], *, excessive: bool = False) -> None:
        """Say every problem, one a line; ``excessive``: no rule of the schema is broken, there is too much of it."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
        self.excessive = excessive


def validate(job: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with ``job`` (the object as YAML or JSON reads it); empty when the API server would take it.

    ``status`` is the operator's and not looked at.
    """
    if not isinstance(job, Mapping):
        return [Problem("job", job, "must be an object", "a job begins with apiVersion, kind, metadata and spec")]
    written = {key: part for key, part in job.items() if key != "status"}
    beyond = _excess(written)
    if beyond:
        return beyond
    plain = as_json(written)
    found = [*_head_problems(plain), *no_json(plain, "")]
    if "spec" not in plain:
        return [*found, Problem("spec", None, "is required")]
    found += problems(spec_schema(), with_defaults(spec_schema(), plain["spec"]), "spec")
    return found or _unwanted_problems(plain["spec"].get("podTemplate") or {})


def parse_spec(job: Mapping[str, Any]) -> TrainingJobSpec:
    """The spec of a valid job, as the API server would store it.

    Raises:
        InvalidJob: with every problem found.
    """
    found = validate(job)
    if found:
        raise InvalidJob(found, excessive=bool(_excess({"spec": job.get("spec")})))
    stored = with_defaults(spec_schema(), as_json(job["spec"]))
    try:
        return TrainingJobSpec.model_validate(stored)
    except ValidationError as error:
        raise AssertionError(f"the schema takes what the models do not: {error}") from error


def _excess(written: Mapping[str, Any]) -> list[Problem]:
    """First of all, for everything after it walks through the whole job."""
    beyond = excess(written)
    return [Problem(beyond[0], None, beyond[1], "put such data into a file, and its path here")] if beyond else []


def _unwanted_problems(template: Mapping[str, Any]) -> list[Problem]:
    path = f"spec.podTemplate.metadata.annotations[{Annotation.WITHOUT}]"
    rule = f"must name fields of {', '.join(REMOVABLE)}"
    unknown = [name for name in unwanted_fields(template) if name not in REMOVABLE]
    return [Problem(path, name, rule, did_you_mean(name, list(REMOVABLE))) for name in unknown]


def _head_problems(job: Mapping[str, Any]) -> list[Problem]:
    wanted = {"apiVersion": API_VERSION, "kind": KIND}
    found = [
        Problem(key, job.get(key), f"must be {value}", did_you_mean(str(job.get(key)), [value]))
        for key, value in wanted.items()
        if job.get(key) != value
    ]
    known = [*wanted, "metadata", "spec", "status"]
    found += [Problem(key, job[key], "unknown field", did_you_mean(key, known)) for key in job if key not in known]
    return found + _name_problems(job.get("metadata"))


def _name_problems(metadata: Any) -> list[Problem]:
    if not isinstance(metadata, Mapping):
        return [Problem("metadata", metadata, "must be an object", "it holds the job's name")]
    name = metadata.get("name")
    if name is None and isinstance(metadata.get("generateName"), str):
        name = metadata["generateName"] + GENERATED_SUFFIX
    if not isinstance(name, str):
        return [Problem("metadata.name", name, "is required" if name is None else "must be a string")]
    rule = job_name_problem(name)
    return [Problem("metadata.name", name, rule)] if rule else []
