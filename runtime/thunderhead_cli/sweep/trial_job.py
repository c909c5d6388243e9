"""The job of one trial: the sweep's, with a name of its own and the values that were chosen for it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from thunderhead_api.walk import did_you_mean
from thunderhead_cli.jobfile import JobFile, problems_of
from thunderhead_cli.sweep.file import Categorical, Parameter, SweepFile, SweepFileError

SWEEP_LABEL: Final = "thunderhead.dev/sweep"
"""Label of every trial, with the name of its sweep: what ``kubectl get trainingjobs -l`` asks for."""

Values = Mapping[str, Any]


def trial_name(sweep: str, number: int) -> str:
    """Name of a trial's job."""
    return f"{sweep}-{number}"


def trial_job(job: Mapping[str, Any], sweep: str, number: int, values: Values) -> dict[str, Any]:
    """The object to submit.

    Args:
        job: of the job file.
        sweep: its name.
        number: of the trial, from 0.
        values: by path in the spec.

    Raises:
        SweepFileError: a path leads nowhere.
    """
    made = copy.deepcopy(dict(job))
    metadata = made.setdefault("metadata", {})
    metadata["name"] = trial_name(sweep, number)
    metadata["labels"] = {**(metadata.get("labels") or {}), SWEEP_LABEL: sweep}
    for path, value in values.items():
        _put(made["spec"], path, value)
    return made


def check_job(sweep: SweepFile, job: JobFile) -> None:
    """Hold the job against the schema with the first and the last value of every parameter.

    Raises:
        SweepFileError: a trial could never be a job; every problem, one a line.
    """
    found = []
    for at in (0, -1):
        values = {path: _ends(parameter)[at] for path, parameter in sweep.parameters.items()}
        tried = JobFile(job.path, trial_job(job.job, sweep.name, 0, values), job.config_maps)
        found += [f"{job.path}: {problem}" for problem in problems_of(tried)]
    if found:
        raise SweepFileError("\n".join(dict.fromkeys(found)))


def _ends(parameter: Parameter) -> tuple[Any, Any]:
    if isinstance(parameter, Categorical):
        return parameter.choices[0], parameter.choices[-1]
    return parameter.low, parameter.high


def _put(spec: dict[str, Any], path: str, value: Any) -> None:
    """Set one field; arguments may be new (``init_args`` too), what holds them must be there."""
    words = path.split(".")
    at: Any = spec
    for depth, word in enumerate(words[:-1]):
        if word == "init_args" and isinstance(at, dict):
            at = at.setdefault(word, {})
            continue
        at = _step_into(at, word, path, words[:depth])
    last = words[-1]
    if isinstance(at, list):
        at[_index(at, last, path)] = value
    elif isinstance(at, dict):
        at[last] = value
    else:
        raise SweepFileError(f"parameters.{path}: spec.{'.'.join(words[:-1])} is {at!r}, which holds no fields")


def _step_into(at: Any, word: str, path: str, above: list[str]) -> Any:
    if isinstance(at, list):
        return at[_index(at, word, path)]
    if isinstance(at, dict) and word in at:
        return at[word]
    where = ".".join(["spec", *above])
    hint = did_you_mean(word, list(at)) if isinstance(at, dict) else None
    raise SweepFileError(
        f"parameters.{path}: {where} has no {word!r}; {hint or 'write it into the job file, or correct the path'}"
    )


def _index(at: list[Any], word: str, path: str) -> int:
    if not word.isdecimal() or int(word) >= len(at):
        raise SweepFileError(f"parameters.{path}: {word!r} is no place in a list of {len(at)}; they count from 0")
    return int(word)
