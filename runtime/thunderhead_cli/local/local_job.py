"""The job of the file, made fit for one machine: what a cluster would supply comes from beside the file."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thunderhead_api.code_hash import changed_files
from thunderhead_api.spec_changes import changes, written
from thunderhead_api.validate import InvalidJob, parse_spec, validate
from thunderhead_cli.jobfile import JobFile, JobFileError
from thunderhead_cli.local.code import files_beside, kept_code, listed
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
        code: the files that run; none where the code is in the job itself or where the command was started.
        code_dir: where they come from, if it is a directory.
    """

    job: dict[str, Any]
    config_maps: dict[str, dict[str, str]]
    notes: list[str]
    code: dict[str, str] = field(default_factory=dict)
    code_dir: Path | None = None


def localise(file: JobFile, run: RunDir, *, checkpoint_uri: str | None) -> LocalJob:
    """The valid job of ``file`` for this machine. Everything not named here stays as written.

    Checkpoints go to the run's directory whatever the file says (a trial on a laptop must not write to the bucket of
    the real thing), unless ``checkpoint_uri`` names a place or is ``"job"``. Credentials come from the environment.

    Raises:
        WrongOption: ``checkpoint_uri`` is none.
        JobFileError: the code is in a ConfigMap that neither file nor directory holds, or a file there is no text.
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
    source = (spec.get("code") or {}).get("configMap")
    if source is None:
        return LocalJob(job, dict(file.config_maps), notes)
    name = source["name"]
    if name in file.config_maps:
        code = file.config_maps[name]
        return LocalJob(job, dict(file.config_maps), [*notes, *_edited(run, code)], code)
    code, note = _beside(file, name, run)
    directory = _directory_of(file.path)
    return LocalJob(job, {**file.config_maps, name: code}, [*notes, note, *_edited(run, code)], code, directory)


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


def _beside(file: JobFile, name: str, run: RunDir) -> tuple[dict[str, str], str]:
    """The files beside the job file; where there are none any more, those that the run has kept."""
    directory = _directory_of(file.path)
    files = files_beside(directory)
    if files:
        return files, f"code:        {', '.join(files)} beside the file, as ConfigMap {name}"
    kept = kept_code(run)
    if kept:
        return kept, f"code:        {', '.join(kept)} of {run.code_dir}: there is no *.py file in {directory} any more"
    raise JobFileError(
        f"spec.code.configMap.name = {name!r}: no cluster to ask, no ConfigMap of that name in {file.path} "
        f"and no *.py file beside it; put the Python files into {directory}"
    )


def _edited(run: RunDir, code: Mapping[str, str]) -> list[str]:
    """What of the code is not what this run had; a new run had none."""
    kept = kept_code(run)
    changed = changed_files(kept, code) if kept else []
    if not changed:
        return []
    return [f"changed:     code ({listed(changed)}), since the last command of this run; this one takes it"]


def spec_changes(saved: Mapping[str, Any], job: Mapping[str, Any]) -> list[str]:
    """What of the spec is not what the run had, path by path."""
    before, after = ({k: v for k, v in obj["spec"].items() if k != "suspend"} for obj in (saved, job))
    with contextlib.suppress(InvalidJob):  # of an older version: what was written is compared as it is
        before, after = (written(parse_spec({**job, "spec": spec}), pods_only=False) for spec in (before, after))
    return changes(before, after)


def _directory_of(path: Path) -> Path:
    return path.absolute().parent
