"""A logger that is there and does nothing, for runs that must leave no trace."""

from __future__ import annotations

from typing import Any

from thunderhead.loggers.logger import Logger


class DummyExperiment:
    """Whatever is called on it, nothing happens."""

    def __getattr__(self, name: str) -> Any:
        return self._nothing

    def __getitem__(self, index: int) -> DummyExperiment:
        return self

    def __setitem__(self, *_: object) -> None:
        """Nothing is kept."""

    def _nothing(self, *_: object, **__: object) -> None:
        """Nothing happens."""


class DummyLogger(Logger):
    """Stands in for the loggers under ``fast_dev_run``, so that code that uses ``self.logger`` runs."""

    def __init__(self) -> None:
        self._experiment = DummyExperiment()

    @property
    def name(self) -> str:
        """Empty."""
        return ""

    @property
    def version(self) -> str:
        """Empty."""
        return ""

    @property
    def experiment(self) -> DummyExperiment:
        """Takes every call."""
        return self._experiment

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Nothing is kept."""

    def log_hyperparams(self, params: object = None, *args: object, **kwargs: object) -> None:
        """Nothing is kept."""

    def __getitem__(self, index: int) -> DummyLogger:
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return DummyExperiment()._nothing
