"""Weights & Biases."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers.logger import rank_zero_only
from thunderhead.loggers.service import COUNT, SETTINGS, Checkpoints, LogModel, Saved, ServiceLogger
from thunderhead.warning import say

if TYPE_CHECKING:
    from torch import Tensor, nn

_STEP = "trainer/global_step"
_HERE = "."


class WandbLogger(ServiceLogger):
    """Sends metrics to Weights & Biases, by its package ``wandb``.

    Args:
        name: of the run, as it is shown.
        save_dir: directory of its files.
        version: id of the run; a run of that id is gone on with. In a job it follows from the job.
        offline: write files only, which ``wandb sync`` sends later.
        dir: the same, where ``save_dir`` is not given.
        id: the same as ``version``.
        anonymous: whether an account is needed.
        project: that the run is in; the variable ``WANDB_PROJECT``, else ``lightning_logs``.
        log_model: whether checkpoint files are sent: True at the end, ``"all"`` as they are written.
        experiment: a run that was begun already.
        prefix: put before every metric's name, with a dash.
        checkpoint_name: of the artifact that checkpoints are.
        add_file_policy: ``immutable`` where files do not change any more once they are sent.
        **kwargs: arguments for ``wandb.init``.

    Raises:
        ModuleNotFoundError: the package is not installed.
        MisconfigurationException: ``log_model`` and ``offline`` together.
    """

    LOGGER_JOIN_CHAR = "-"

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | os.PathLike[str] | None = _HERE,
        version: str | None = None,
        offline: bool = False,
        dir: str | os.PathLike[str] | None = None,
        id: str | None = None,
        anonymous: bool | None = None,
        project: str | None = None,
        log_model: LogModel = False,
        experiment: object = None,
        prefix: str = "",
        checkpoint_name: str | None = None,
        add_file_policy: str = "mutable",
        **kwargs: object,
    ) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise ModuleNotFoundError(
                "WandbLogger needs the package wandb, which is not installed; pip install wandb, or use CSVLogger",
                name="wandb",
            )
        super().__init__("WandbLogger", prefix, log_model)
        if offline and log_model:
            raise MisconfigurationException(
                f"WandbLogger(offline=True, log_model={log_model!r}): files are sent to a server; pass one of the two"
            )
        self._offline = offline
        self._experiment: Any = experiment
        self._artifact = checkpoint_name
        self._policy = add_file_policy
        place = dir if dir is not None and save_dir in (None, _HERE) else save_dir
        self._arguments: dict[str, Any] = {
            "name": name,
            "project": project or os.environ.get("WANDB_PROJECT", "lightning_logs"),
            "dir": None if place is None else os.fspath(place),
            "id": version or id,
            "resume": "allow",
            **({"anonymous": "allow"} if anonymous else {}),
            **({"mode": "offline"} if offline else {}),
            **kwargs,
        }

    @property
    @rank_zero_only
    def experiment(self) -> Any:
        """The run, begun at the first need; None on other ranks."""
        if self._experiment is None:
            import wandb

            if wandb.run is not None:
                say("WandbLogger writes to the run that is going on; call wandb.finish() before for one of its own")
                self._experiment = wandb.run
            else:
                self._experiment = self._begin(wandb)
        return self._experiment

    def _begin(self, wandb: Any) -> Any:
        directory = self._arguments["dir"]
        if directory is not None:
            os.makedirs(directory, exist_ok=True)
        run = wandb.init(**self._arguments)
        if self._arguments.get("sync_tensorboard"):
            run.define_metric("*", step_metric="global_step")
        else:
            run.define_metric(_STEP)
            run.define_metric("*", step_metric=_STEP, step_sync=True)
        return run

    @property
    def save_dir(self) -> str | None:
        """Directory of its files."""
        found: str | None = self._arguments["dir"]
        return found

    @property
    def name(self) -> str | None:
        """The project; the run's own name is ``experiment.name``."""
        found: str | None = self._arguments["project"]
        return found

    @property
    def version(self) -> str | None:
        """Id of the run; None before it has begun, where none was given."""
        found: str | None = self._arguments["id"] if self._experiment is None else self._experiment.id
        return found

    @rank_zero_only
    def watch(
        self, model: nn.Module, log: str | None = "gradients", log_freq: int = 100, log_graph: bool = True
    ) -> None:
        """Have gradients or parameters recorded; see ``wandb.watch``."""
        self.experiment.watch(model, log=log, log_freq=log_freq, log_graph=log_graph)

    @rank_zero_only
    def log_table(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[object]] | None = None,
        dataframe: object = None,
        step: int | None = None,
    ) -> None:
        """Record a table of anything."""
        import wandb

        self._log_media(key, wandb.Table(columns=columns, data=data, dataframe=dataframe), step)

    @rank_zero_only
    def log_text(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[str]] | None = None,
        dataframe: object = None,
        step: int | None = None,
    ) -> None:
        """Record text, as a table."""
        import wandb

        self._log_media(key, wandb.Table(columns=columns, data=data, dataframe=dataframe), step)

    @rank_zero_only
    def log_image(self, key: str, images: list[object], step: int | None = None, **kwargs: list[object]) -> None:
        """Record images: tensors, arrays, PIL's, or paths. Keywords hold one value for each."""
        import wandb

        self._log_several(key, "images", wandb.Image, images, step, kwargs)

    @rank_zero_only
    def log_audio(self, key: str, audios: list[object], step: int | None = None, **kwargs: list[object]) -> None:
        """Record sounds: arrays or paths. Keywords hold one value for each."""
        import wandb

        self._log_several(key, "audios", wandb.Audio, audios, step, kwargs)

    @rank_zero_only
    def log_video(self, key: str, videos: list[object], step: int | None = None, **kwargs: list[object]) -> None:
        """Record films: arrays or paths. Keywords hold one value for each."""
        import wandb

        self._log_several(key, "videos", wandb.Video, videos, step, kwargs)

    @staticmethod
    @rank_zero_only
    def download_artifact(
        artifact: str,
        save_dir: str | os.PathLike[str] | None = None,
        artifact_type: str | None = None,
        use_artifact: bool | None = True,
    ) -> str:
        """Fetch an artifact; its directory.

        Args:
            artifact: its path.
            save_dir: where it goes.
            artifact_type: its type.
            use_artifact: whether the running run, if any, is said to use it.
        """
        import wandb

        used = wandb.run is not None and use_artifact
        found = wandb.run.use_artifact(artifact) if used else wandb.Api().artifact(artifact, type=artifact_type)
        fetched: str = found.download(root=None if save_dir is None else os.fspath(save_dir))
        return fetched

    def use_artifact(self, artifact: str, artifact_type: str | None = None) -> object:
        """Say that the run uses an artifact."""
        return self.experiment.use_artifact(artifact, type=artifact_type)

    def _log_several(
        self, key: str, what: str, kind: Any, given: object, step: int | None, keywords: Mapping[str, list[object]]
    ) -> None:
        if not isinstance(given, list):
            raise TypeError(f"WandbLogger: {what} must be a list, but a {type(given).__name__} was given")
        for name, values in keywords.items():
            if len(values) != len(given):
                raise ValueError(f"WandbLogger: {name} has {len(values)} values for {len(given)} {what}; give one each")
        made = [kind(one, **{name: values[at] for name, values in keywords.items()}) for at, one in enumerate(given)]
        self._log_media(key, made, step)

    def _log_media(self, key: str, value: object, step: int | None) -> None:
        self.experiment.log({key: value} if step is None else {key: value, _STEP: step})

    def log_graph(self, model: object, input_array: Tensor | None = None) -> None:
        """Nothing: ``watch`` records it."""

    def _belongs_to(self, job: str, settings: str) -> None:
        super()._belongs_to(job, settings)
        if self._experiment is None and self._arguments["id"] is None:
            self._arguments["id"] = job
            self._arguments["name"] = self._arguments["name"] or job

    def _send(self, metrics: Mapping[str, float], step: int | None, count: int) -> None:
        with_step = step is not None and not self._arguments.get("sync_tensorboard")
        run = self.experiment
        run.log({**metrics, **({_STEP: step} if with_step else {})})
        if self._job is not None:
            run.summary.update({COUNT: count, SETTINGS: self._settings})

    def _send_parameters(self, params: dict[str, object]) -> None:
        self.experiment.config.update(params, allow_val_change=True)

    def _send_file(self, file: Saved, callback: Checkpoints) -> None:
        import wandb

        metadata: dict[str, object] = {"score": file.score, "original_filename": os.path.basename(file.path)}
        metadata[type(callback).__name__] = _told(callback)
        name = self._artifact or f"model-{self.experiment.id}"
        artifact = wandb.Artifact(name=name, type="model", metadata=metadata)
        artifact.add_file(file.path, name="model.ckpt", policy=self._policy)
        self.experiment.log_artifact(artifact, aliases=list(file.aliases))

    def _found(self) -> tuple[int, str | None]:
        if self._job is None or self._offline:
            return 0, None
        summary = self.experiment.summary
        return int(summary.get(COUNT) or 0), summary.get(SETTINGS)

    def _end(self, status: str) -> None:
        # A worker of a job ends as a process may, without the exit functions that would send what is left.
        if self._job is not None and self._experiment is not None:
            self._experiment.finish(exit_code=int(status != "success"))
            self._experiment = None

    def __getstate__(self) -> dict[str, Any]:
        # A process that this one starts goes on with the same run.
        return {**self.__dict__, "_experiment": None, "_arguments": {**self._arguments, "id": self.version}}


def _told(callback: Checkpoints) -> dict[str, object]:
    names = ("monitor", "mode", "save_last", "save_top_k", "save_weights_only")
    return {name: getattr(callback, name) for name in names if hasattr(callback, name)}
