"""As much of wandb and mlflow as our loggers call, kept in memory; make test-services tries the real ones."""

from __future__ import annotations

import itertools
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class Settings(dict[str, Any]):
    """``run.config``."""

    def update(self, params: dict[str, Any], allow_val_change: bool = False) -> None:  # type: ignore[override]
        super().update(params)


class WandbRun:
    """A run, as a server keeps it."""

    def __init__(self, id: str, arguments: dict[str, Any]) -> None:
        self.id, self.arguments = id, arguments
        self.history: list[dict[str, Any]] = []
        self.config, self.summary = Settings(), dict[str, Any]()
        self.artifacts: list[tuple[Any, list[str]]] = []
        self.metrics: list[tuple[str, dict[str, Any]]] = []
        self.ended: list[int] = []

    def log(self, values: dict[str, Any]) -> None:
        self.history.append(dict(values))

    def define_metric(self, name: str, **how: Any) -> None:
        self.metrics.append((name, how))

    def log_artifact(self, artifact: Any, aliases: list[str]) -> None:
        self.artifacts.append((artifact, aliases))

    def finish(self, exit_code: int = 0) -> None:
        self.ended.append(exit_code)


class Artifact:
    """What is sent of a file."""

    def __init__(self, name: str, type: str, metadata: dict[str, Any]) -> None:
        self.name, self.metadata, self.files = name, metadata, list[tuple[str, str, str]]()

    def add_file(self, path: str, name: str, policy: str) -> None:
        self.files.append((path, name, policy))


class Wandb(ModuleType):
    """The package; its runs outlive a process."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = SimpleNamespace(name="wandb")  # type: ignore[assignment]
        self.runs: dict[str, WandbRun] = {}
        self.run = None
        self.Artifact = Artifact
        self.Image = lambda value, **keywords: (value, keywords)
        self._ids = itertools.count()

    def init(self, **arguments: Any) -> WandbRun:
        id = arguments["id"] or f"made-{next(self._ids)}"
        return self.runs.setdefault(id, WandbRun(id, arguments))


class MlflowClient:
    """A client; what it keeps outlives a process."""

    def __init__(self, store: Mlflow) -> None:
        self.store = store

    def get_experiment_by_name(self, name: str) -> Any:
        return self.store.experiments.get(name)

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        found = SimpleNamespace(experiment_id=f"e{len(self.store.experiments)}", lifecycle_stage="active")
        self.store.experiments[name] = found
        return str(found.experiment_id)

    def create_run(self, experiment_id: str, tags: dict[str, str]) -> Any:
        info = SimpleNamespace(run_id=f"r{len(self.store.runs)}", experiment_id=experiment_id, status="RUNNING")
        run = SimpleNamespace(info=info, data=SimpleNamespace(tags=dict(tags), params={}), metrics=[], files=[])
        self.store.runs[info.run_id] = run
        return run

    def get_run(self, run_id: str) -> Any:
        return self.store.runs[run_id]

    def update_run(self, run_id: str, status: str) -> None:
        self.store.runs[run_id].info.status = status

    set_terminated = update_run

    def search_runs(self, experiments: list[str], filter_string: str, max_results: int) -> list[Any]:
        name, _, value = filter_string.partition(" = ")
        key, wanted = name.removeprefix("tags.").strip("`"), value.strip("'")
        return [run for run in self.store.runs.values() if run.data.tags.get(key) == wanted][:max_results]

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        run = self.store.runs[run_id]
        run.metrics += [(metric.key, metric.value, metric.step) for metric in metrics]
        run.data.params.update({param.key: param.value for param in params})
        run.data.tags.update({tag.key: tag.value for tag in tags})

    def log_artifact(self, run_id: str, path: str, folder: str) -> None:
        self.store.runs[run_id].files.append((path, folder))

    def log_artifacts(self, run_id: str, directory: str, folder: str) -> None:
        """Beside it."""


class Mlflow(ModuleType):
    """The package."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = SimpleNamespace(name="mlflow")  # type: ignore[assignment]
        self.experiments: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.uri = ""
        self.MlflowClient = lambda uri: MlflowClient(self)

    def set_tracking_uri(self, uri: str) -> None:
        self.uri = uri


def stand_in_wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    """In the place of the package."""
    made = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", made)
    return made


def stand_in_mlflow(monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    """In the place of the package."""
    made, entities, registry = Mlflow(), ModuleType("mlflow.entities"), ModuleType("mlflow.tracking.context.registry")

    def named(**fixed: Any) -> Any:
        return lambda key, value, timestamp=0, step=0: SimpleNamespace(key=key, value=value, step=step, **fixed)

    for kind in ("Metric", "Param", "RunTag"):
        setattr(entities, kind, named(kind=kind))
    registry.resolve_tags = lambda tags: tags  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", made)
    for name in ("mlflow.tracking", "mlflow.tracking.context"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.setitem(sys.modules, "mlflow.tracking.context.registry", registry)
    return made
