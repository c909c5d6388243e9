"""The job of the file, made fit for one machine: what a cluster would supply comes from beside the file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thunderhead_api.validate import validate
from thunderhead_cli.jobfile import JobFile, JobFileError
from thunderhead_cli.local.rundir import RunDir
from thunderhead_cli.options import WrongOption

AS_IN_FILE = "job"
"""Value of ``--checkpoint-uri`` that keeps the URI of the job file."""


@dataclass(frozen=True, slots=True)
class LocalJob:
    """A job for this machine.

    Attributes:
        job: the object, without uid and status.
        config_maps: the user's files by ConfigMap name.
        notes: what differs from the file, for the user to read.
    """

    job: dict[str, Any]
    config_maps: dict[str, dict[str, str]]
    notes: list[str]


def localise(file: JobFile, run: RunDir, *, checkpoint_uri: str | None) -> LocalJob:
    """The valid job of ``file`` for this machine. Everything not named here stays as written.

    Checkpoints go to the run's directory whatever the file says (a trial on a laptop must not write to the bucket of
    the real thing), unless ``checkpoint_uri`` names a place or is ``"job"``. Credentials come from the environment.

    Raises:
        WrongOption: ``checkpoint_uri`` is none.
        JobFileError: the code is in a ConfigMap that neither file nor directory holds.
    """
    job = copy.deepcopy(dict(file.job))
    job["metadata"] = {"namespace": "default", **job["metadata"]}
    spec = job["spec"]
    for of_a_cluster in ("suspend", "managedBy", "ttlSecondsAfterFinished"):
        spec.pop(of_a_cluster, None)
    notes = [_place_checkpoints(spec["checkpoint"], run, checkpoint_uri)]
    problems = validate(job)  # the file was valid; what changed may not be
    if problems:
        raise WrongOption("\n".join(f"--checkpoint-uri {checkpoint_uri}: {problem}" for problem in problems))
    config_maps, note = _code(file, spec)
    return LocalJob(job, config_maps, [*notes, *note])


def _place_checkpoints(checkpoint: dict[str, Any], run: RunDir, wanted: str | None) -> str:
    written = checkpoint["uri"]
    if wanted != AS_IN_FILE:
        checkpoint["uri"] = wanted or run.checkpoint_uri
    if checkpoint["uri"].startswith("file://"):
        checkpoint.pop("s3", None)
    elif "s3" in checkpoint:
        checkpoint["s3"].pop("credentialsSecretName", None)
    if checkpoint["uri"] == written:
        return f"checkpoints: {written}"
    return f"checkpoints: {checkpoint['uri']}  (the file says {written}; keep that with --checkpoint-uri {AS_IN_FILE})"


def _code(file: JobFile, spec: Mapping[str, Any]) -> tuple[dict[str, dict[str, str]], list[str]]:
    source = (spec.get("code") or {}).get("configMap")
    if source is None:
        return dict(file.config_maps), []
    name = source["name"]
    if name in file.config_maps:
        return dict(file.config_maps), []
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(_directory_of(file.path).glob("*.py"))}
    if not files:
        raise JobFileError(
            f"spec.code.configMap.name = {name!r}: no cluster to ask, no ConfigMap of that name in {file.path} "
            f"and no *.py file beside it; put the Python files into {_directory_of(file.path)}"
        )
    return {**file.config_maps, name: files}, [f"code:        {', '.join(files)} beside the file, as ConfigMap {name}"]


def _directory_of(path: Path) -> Path:
    return path.absolute().parent
