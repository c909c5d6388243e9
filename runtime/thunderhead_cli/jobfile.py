"""A job file as users write it: one TrainingJob, and beside it, if they like, the ConfigMaps it names."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from thunderhead_api.extent import DEPTH_MAX
from thunderhead_api.treaty import KIND
from thunderhead_api.validate import Problem, validate
from thunderhead_api.yaml_remedy import remedy
from thunderhead_cli.kubernetes_yaml import KubernetesLoader

MAX_BYTES = 3 * 1024 * 1024  # what an API server accepts
_ELSEWHERE = "put such data into a file, and its path into the job"


class JobFileError(ValueError):
    """The file cannot be used; the message says what, where and what to do."""


class UnreadableJobFile(JobFileError):
    """There is no file to read at the path: another one must be given."""


@dataclass(frozen=True, slots=True)
class JobFile:
    """What one file holds.

    Attributes:
        path: where it was read from.
        job: the TrainingJob object as YAML reads it; not validated.
        config_maps: data of every ConfigMap in the same file, by name.
    """

    path: Path
    job: dict[str, Any]
    config_maps: dict[str, dict[str, str]]


class _StrictLoader(KubernetesLoader):
    """YAML as Kubernetes reads it, except that a key written twice is an error and not a lost value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                line = key_node.start_mark.line + 1
                raise JobFileError(f"line {line}: the key {key!r} is written twice; keep one of them")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_job_file(path: Path) -> JobFile:
    """Read a YAML or JSON file.

    Raises:
        UnreadableJobFile: no such file, or none that can be read.
        JobFileError: no YAML, no TrainingJob in it, or more than one.
    """
    documents = documents_of(path)
    jobs = [document for document in documents if document.get("kind") == KIND]
    if len(jobs) != 1:
        kinds = ", ".join(str(document.get("kind")) for document in documents) or "nothing"
        raise JobFileError(f"{path}: holds {kinds}; write exactly one object of kind {KIND} into it")
    config_maps = {
        str((document.get("metadata") or {}).get("name")): {k: str(v) for k, v in (document.get("data") or {}).items()}
        for document in documents
        if document.get("kind") == "ConfigMap"
    }
    return JobFile(path, dict(jobs[0]), config_maps)


def problems_of(file: JobFile) -> list[Problem]:
    """What the API server would refuse in this file."""
    return validate(file.job)


def documents_of(path: Path, wanted: str = "the path of a job file with -f") -> list[Mapping[str, Any]]:
    """Every document of a YAML or JSON file, read as Kubernetes would.

    Args:
        path: of the file.
        wanted: what to give where there is none.

    Raises:
        UnreadableJobFile: no such file, or none that can be read.
        JobFileError: no YAML, or something else than objects in it.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise JobFileError(f"{path}: has {size} bytes; an API server takes at most {MAX_BYTES}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnreadableJobFile(f"{path}: cannot be read: {error.strerror}; give {wanted}") from error
    except UnicodeDecodeError as error:
        raise JobFileError(f"{path}: is not UTF-8 text (byte {error.start}); give a YAML or JSON file") from error
    try:
        documents = [d for d in yaml.load_all(text, Loader=_StrictLoader) if d is not None]  # a SafeLoader
    except yaml.YAMLError as error:
        raise JobFileError(f"{path}: {_what_is_wrong(error)}") from error
    except JobFileError as error:
        raise JobFileError(f"{path}: {error}") from error
    except RecursionError:  # without the cause: a thousand lines of it say nothing
        raise JobFileError(f"{path}: is nested far more than {DEPTH_MAX} levels deep; {_ELSEWHERE}") from None
    except ValueError as error:  # a number of thousands of digits, a date of the 13th month
        said = str(error).partition(";")[0]
        raise JobFileError(f"{path}: holds a value that no job can hold: {said}") from error
    for document in documents:
        if not isinstance(document, Mapping):
            raise JobFileError(f"{path}: holds a {type(document).__name__} where an object with a kind is expected")
    return documents


def _what_is_wrong(error: yaml.YAMLError) -> str:
    """The place first, then the rule; without the excerpt, which needs lines of its own."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return f"is no valid YAML: {' '.join(str(error).split())}"
    context, begin = getattr(error, "context", None), getattr(error, "context_mark", None)
    since = "" if context is None or begin is None else f" ({context} that begins in line {begin.line + 1})"
    todo = remedy(problem, begin)
    advice = f"; {todo}" if todo else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: is no valid YAML: {problem}{since}{advice}"
