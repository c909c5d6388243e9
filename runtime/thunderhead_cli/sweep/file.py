"""A sweep file: which job, which of its fields are tried, what is to become best."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from thunderhead_api.names import JOB_NAME_MAX, job_name_problem
from thunderhead_api.walk import did_you_mean
from thunderhead_cli.jobfile import JobFileError, documents_of

_NUMBER_DIGITS: Final = 5
"""Trials are jobs named ``<sweep>-<number>``, for which this much of a name is kept."""


class SweepFileError(JobFileError):
    """The file cannot be used; the message says what, where and what to do."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Float(_Part):
    """A number between two, evenly or by its logarithm."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Float:
        _check_range(self.low, self.high, log=self.log, stepped=self.step is not None)
        return self


class Int(_Part):
    """A whole number between two, both included."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: int = Field(default=1, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Int:
        _check_range(self.low, self.high, log=self.log, stepped=self.step != 1)
        return self


class Categorical(_Part):
    """One of several values."""

    type: Literal["categorical"]
    choices: list[bool | int | float | str | None] = Field(min_length=1)


Parameter = Annotated[Float | Int | Categorical, Field(discriminator="type")]


class Objective(_Part):
    """What the trials are compared by: the last value of something that the module logs."""

    metric: str = Field(min_length=1)
    direction: Literal["minimize", "maximize"] = "minimize"


class Made(_Part):
    """A class of Optuna's, and what it is made with."""

    class_path: str
    init_args: dict[str, Any] = Field(default_factory=dict)


class SweepFile(_Part):
    """What one file holds.

    Attributes:
        name: of the sweep, and of its directory; its trials are jobs ``<name>-<number>``.
        job: path of the job file, from the sweep file's directory.
        parameters: by their path in the job's spec, as ``module.init_args.lr``.
        objective: what is to become best.
        trials: how many there are to be, however they end.
        parallel: how many run at once.
        sampler: chooses parameters; Optuna's own choice by default.
        pruner: ends trials early; none by default.
        storage: URL of Optuna's storage; by default a file of the sweep's directory.
    """

    name: str
    job: Path
    parameters: dict[str, Parameter] = Field(min_length=1)
    objective: Objective
    trials: int = Field(gt=0, lt=10**_NUMBER_DIGITS)
    parallel: int = Field(default=1, gt=0)
    sampler: Made | None = None
    pruner: Made | None = None
    storage: str | None = None

    @model_validator(mode="after")
    def _named(self) -> SweepFile:
        longest = JOB_NAME_MAX - _NUMBER_DIGITS - 1
        rule = job_name_problem(self.name)
        if rule or len(self.name) > longest:
            raise ValueError(f"name = {self.name!r}: {rule or f'must be at most {longest} characters'}")
        return self


def read_sweep_file(path: Path) -> SweepFile:
    """Read a YAML or JSON file; ``job`` is a path from here afterwards.

    Raises:
        UnreadableJobFile: no such file, or none that can be read.
        SweepFileError: it holds no sweep.
    """
    documents = documents_of(path, "the path of a sweep file with -f")
    if len(documents) != 1:
        raise SweepFileError(f"{path}: holds {len(documents)} documents; write exactly one sweep into it")
    try:
        found = SweepFile.model_validate(documents[0])
    except ValidationError as error:
        raise SweepFileError("\n".join(f"{path}: {line}" for line in _problems(error))) from error
    return found.model_copy(update={"job": path.parent / found.job})


def as_text(job: dict[str, Any]) -> str:
    """A job as a file, its fields in the order in which they are written by hand."""
    return yaml.safe_dump(job, sort_keys=False, allow_unicode=True)


def _check_range(low: float, high: float, *, log: bool, stepped: bool) -> None:
    if low > high:
        raise ValueError(f"low = {low} is more than high = {high}; exchange them")
    if log and low <= 0:
        raise ValueError(f"low = {low}: must be more than 0 where log is true")
    if log and stepped:
        raise ValueError("step and log exclude each other; leave one of them out")


def _problems(error: ValidationError) -> list[str]:
    """Every problem with path, value, rule, and the nearest name that there is."""
    return [_problem(found["loc"], found) for found in error.errors(include_url=False)]


def _problem(loc: tuple[int | str, ...], found: Any) -> str:
    # The discriminator's value is no key of the file.
    words = [str(part) for at, part in enumerate(loc) if not (at == 2 and loc[0] == "parameters")]
    path = ".".join(words)
    if found["type"] == "extra_forbidden":
        hint = did_you_mean(words[-1], _known(loc))
        return f"{path}: unknown field" + (f"; {hint}" if hint else "")
    said = found["msg"].removeprefix("Value error, ")
    value = found["input"]
    shown = f" = {value!r}" if isinstance(value, str | int | float) else ""
    return f"{path}{shown}: {said}" if path else said


def _known(loc: tuple[int | str, ...]) -> list[str]:
    """Fields of the object that a path leads into."""
    if loc[0] == "parameters" and len(loc) > 2:
        kinds: dict[int | str, type[_Part]] = {"float": Float, "int": Int, "categorical": Categorical}
        return list(kinds[loc[2]].model_fields)
    parts: dict[int | str, type[_Part]] = {"objective": Objective, "sampler": Made, "pruner": Made}
    return list(parts.get(loc[0], SweepFile).model_fields if len(loc) > 1 else SweepFile.model_fields)
