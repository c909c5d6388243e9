"""MLflow."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from thunderhead.loggers.logger import rank_zero_only
from thunderhead.loggers.service import COUNT, SETTINGS, Checkpoints, LogModel, Saved, ServiceLogger
from thunderhead.warning import warn_once

_FILES: Final = "file:"
_RUN: Final = "thunderhead.run"
_NAME: Final = "mlflow.runName"
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_/. -]+")
_AT_ONCE: Final = 100  # parameters that a server takes in one request
_LONGEST: Final = 250  # characters of a parameter that every server takes
_ENDS: Final = {"success": "FINISHED", "finished": "FINISHED", "failed": "FAILED", "aborted": "KILLED"}


class MLFlowLogger(ServiceLogger):
    """Sends metrics to MLflow, by its package ``mlflow``, or ``mlflow-skinny``.

    Args:
        experiment_name: that the run is in; made where there is none.
        run_name: of the run, as it is shown.
        tracking_uri: of the server or store; the variable ``MLFLOW_TRACKING_URI``, else files in ``save_dir``.
        tags: of the run.
        save_dir: directory of the files, where there is no ``tracking_uri``.
        log_model: whether checkpoint files are sent: True at the end, ``"all"`` as they are written.
        prefix: put before every metric's name, with a dash.
        artifact_location: where files of a new experiment go.
        run_id: of a run to go on with. In a job the run of the attempts before is found.
        synchronous: whether every record is waited for.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """

    LOGGER_JOIN_CHAR = "-"

    def __init__(
        self,
        experiment_name: str = "lightning_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, object] | None = None,
        save_dir: str | os.PathLike[str] | None = "./mlruns",
        log_model: LogModel = False,
        prefix: str = "",
        artifact_location: str | None = None,
        run_id: str | None = None,
        synchronous: bool | None = None,
    ) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise ModuleNotFoundError(
                "MLFlowLogger needs the package mlflow, which is not installed; pip install mlflow, or mlflow-skinny, "
                "or use CSVLogger",
                name="mlflow",
            )
        super().__init__("MLFlowLogger", prefix, log_model)
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._tracking_uri: str = uri or f"{_FILES}{os.fspath(save_dir or './mlruns')}"
        self._experiment_name = experiment_name
        self._experiment_id: str | None = None
        self._artifact_location = artifact_location
        self._run_id = run_id
        self.tags = {**({} if tags is None else tags), **({} if run_name is None else {_NAME: run_name})}
        self._options = {} if synchronous is None else {"synchronous": synchronous}
        self._client: Any = None

    @property
    @rank_zero_only
    def experiment(self) -> Any:
        """The ``MlflowClient``; None on other ranks."""
        if self._client is None:
            import mlflow

            # What a module calls itself, mlflow.log_figure say, goes the same way.
            mlflow.set_tracking_uri(self._tracking_uri)
            self._client = mlflow.MlflowClient(self._tracking_uri)
            self._take_up_or_begin(self._client)
        return self._client

    def _take_up_or_begin(self, client: Any) -> None:
        if self._run_id is None:
            self._experiment_id = self._experiment_of(client)
            self._run_id = self._run_of_job(client)
        if self._run_id is not None:
            run = client.get_run(self._run_id)
            self._experiment_id = run.info.experiment_id
            if run.info.status != "RUNNING":
                client.update_run(self._run_id, status="RUNNING")
            return
        from mlflow.tracking.context.registry import resolve_tags

        tags = {**self.tags, **({} if self._job is None else {_RUN: self._job, _NAME: self.tags.get(_NAME, self._job)})}
        self._run_id = client.create_run(experiment_id=self._experiment_id, tags=resolve_tags(tags)).info.run_id

    def _experiment_of(self, client: Any) -> str:
        found = client.get_experiment_by_name(self._experiment_name)
        if found is not None and found.lifecycle_stage != "deleted":
            return str(found.experiment_id)
        return str(client.create_experiment(name=self._experiment_name, artifact_location=self._artifact_location))

    def _run_of_job(self, client: Any) -> str | None:
        if self._job is None:
            return None
        asked = f"tags.`{_RUN}` = '{self._job}'"
        found = client.search_runs([self._experiment_id], filter_string=asked, max_results=1)
        return str(found[0].info.run_id) if found else None

    @property
    def run_id(self) -> str | None:
        """Id of the run, which is begun where it has not yet."""
        _ = self.experiment
        return self._run_id

    @property
    def experiment_id(self) -> str | None:
        """Id of the experiment, which is made where there is none."""
        _ = self.experiment
        return self._experiment_id

    @property
    def name(self) -> str | None:
        """Id of the experiment."""
        return self.experiment_id

    @property
    def version(self) -> str | None:
        """Id of the run."""
        return self.run_id

    @property
    def save_dir(self) -> str | None:
        """Directory of the files; None where there are none."""
        return self._tracking_uri[len(_FILES) :] if self._tracking_uri.startswith(_FILES) else None

    def _send(self, metrics: Mapping[str, float], step: int | None, count: int) -> None:
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        sent = [Metric(_named(name), value, now, step or 0) for name, value in metrics.items()]
        # Both in one request: the count is that of what is there.
        told = [] if self._job is None else [RunTag(COUNT, str(count)), RunTag(SETTINGS, str(self._settings))]
        self.experiment.log_batch(run_id=self.run_id, metrics=sent, tags=told, **self._options)

    def _send_parameters(self, params: dict[str, object]) -> None:
        from mlflow.entities import Param

        # One that is there already may not change, as it would where a job's settings have.
        there = self.experiment.get_run(self.run_id).data.params if self._job is not None else {}
        wanted = [Param(name, str(value)[:_LONGEST]) for name, value in _flat(params) if name not in there]
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            self.experiment.log_batch(run_id=self.run_id, params=part, **self._options)

    def _send_file(self, file: Saved, callback: Checkpoints) -> None:
        folder = Path(file.path).stem
        self.experiment.log_artifact(self.run_id, file.path, folder)
        told = {"score": file.score, "original_filename": Path(file.path).name, "aliases": list(file.aliases)}
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "metadata.yaml").write_text(yaml.safe_dump(told))
            (Path(directory) / "aliases.txt").write_text(str(list(file.aliases)))
            self.experiment.log_artifacts(self.run_id, directory, folder)

    def _found(self) -> tuple[int, str | None]:
        if self._job is None:
            return 0, None
        tags = self.experiment.get_run(self.run_id).data.tags
        return int(tags.get(COUNT, 0)), tags.get(SETTINGS)

    def _end(self, status: str) -> None:
        if self._client is not None:
            self._client.set_terminated(self._run_id, _ENDS.get(status, status))
            self._client = None  # whoever writes on takes it up again

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None}


def _named(name: str) -> str:
    allowed = _NOT_IN_NAMES.sub("", name)
    if allowed != name:
        warn_once(
            f"MLflow allows letters, digits, '_', '/', '.', '-' and ' ' in names, so {name!r} becomes {allowed!r}"
        )
    return allowed


def _flat(params: Mapping[str, object], outer: str = "") -> Iterator[tuple[str, object]]:
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{outer}{name}/")
        else:
            yield f"{outer}{name}", value
