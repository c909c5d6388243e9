"""Whether a whole TrainingJob object is valid: the API server's rules, without an API server.

Used by ``thunderhead validate``, by the local mode, and by the operator for objects that predate the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from thunderhead_api.names import job_name_problem
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.treaty import API_VERSION, KIND


@dataclass(frozen=True)
class Problem:
    """One thing wrong: where, with what value, which rule, and what to do about it."""

    path: str
    value: Any
    rule: str
    remedy: str | None = None

    def __str__(self) -> str:
        """One line for people."""
        shown = "" if self.value is None else f" = {_shorten(repr(self.value))}"
        return f"{self.path}{shown}: {self.rule}" + (f"; {self.remedy}" if self.remedy else "")


class InvalidJob(ValueError):
    """The object is no valid TrainingJob; ``problems`` says why."""

    def __init__(self, problems: list[Problem]) -> None:
        """Say every problem, one a line."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def validate(job: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with ``job`` (the object as YAML or JSON reads it); empty when the API server would take it."""
    return _head_problems(job) + _spec_problems(job.get("spec"))


def parse_spec(job: Mapping[str, Any]) -> TrainingJobSpec:
    """The spec of a valid job.

    Raises:
        InvalidJob: with every problem found.
    """
    problems = validate(job)
    if problems:
        raise InvalidJob(problems)
    return TrainingJobSpec.model_validate(job["spec"])


def _head_problems(job: Mapping[str, Any]) -> list[Problem]:
    problems = [
        Problem(key, job.get(key), f"must be {wanted!r}", f"write {key}: {wanted}")
        for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND))
        if job.get(key) != wanted
    ]
    metadata = job.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str):
        return [*problems, Problem("metadata.name", name, "is required", "give the job a name")]
    rule = job_name_problem(name)
    return [*problems, Problem("metadata.name", name, rule)] if rule else problems


def _spec_problems(spec: Any) -> list[Problem]:
    if not isinstance(spec, Mapping):
        return [Problem("spec", spec, "is required and must be an object")]
    try:
        TrainingJobSpec.model_validate(spec)
    except ValidationError as error:
        return [_problem_of(dict(detail)) for detail in error.errors(include_url=False)]
    return []


def _problem_of(detail: dict[str, Any]) -> Problem:
    path = ".".join(["spec", *(str(part) for part in detail["loc"])])
    if detail["type"] == "extra_forbidden":
        return Problem(
            path, detail["input"], "unknown field", did_you_mean(str(detail["loc"][-1]), _known(detail["loc"]))
        )
    return Problem(path, detail["input"], str(detail["msg"]))


def did_you_mean(word: str, known: list[str]) -> str | None:
    """A remedy for a misspelt ``word``, or None when nothing known is like it."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None


def _known(loc: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] | None = TrainingJobSpec
    for part in loc[:-1]:
        field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None) if model else None
        model = _model_in(field.annotation) if field else model
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(arg) for arg in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model), None)


def _shorten(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
