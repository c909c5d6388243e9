"""The sweep's study: Optuna keeps it, chooses parameters, and judges which trials are to end early."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from thunderhead_api.walk import did_you_mean
from thunderhead_cli.sweep.file import Categorical, Float, Made, Parameter, SweepFile, SweepFileError

STUDY_FILE: Final = "study.log"
"""Optuna's journal, which its dashboard opens too."""
WHY: Final = "why"
"""User attribute of a trial that failed."""
STEPS: Final = "steps"
"""User attribute: optimizer steps that a trial had done when it ended."""

TRIED_ALL: Final = "tried_all"
"""User attribute of a study whose sampler has nothing left to try: for which sampler and parameters that was so."""

ENDED: Final = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Study:
    """The trials of a sweep, kept in its storage: what one command began, the next goes on with."""

    def __init__(self, sweep: SweepFile, directory: Path) -> None:
        """Open the study, or make it.

        Raises:
            SweepFileError: sampler, pruner or storage cannot be used, or the study has other parameters.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._metric = sweep.objective.metric
        self._distributions = {path: distribution(parameter) for path, parameter in sweep.parameters.items()}
        sampler: BaseSampler | None = _make(sweep.sampler, "sampler", optuna.samplers) if sweep.sampler else None
        pruner: BasePruner = _make(sweep.pruner, "pruner", optuna.pruners) if sweep.pruner else NopPruner()
        try:
            self._study = optuna.create_study(
                storage=sweep.storage or JournalStorage(JournalFileBackend(str(directory / STUDY_FILE))),
                sampler=sampler,
                pruner=pruner,
                study_name=sweep.name,
                direction=sweep.objective.direction,
                load_if_exists=True,
            )
        except Exception as error:  # whatever the database's driver raises
            where = sweep.storage or str(directory / STUDY_FILE)
            raise SweepFileError(
                f"storage = {where!r}: cannot be used: {error}; name one that can be written"
            ) from error
        self._asked = sweep.model_dump(mode="json", include={"sampler", "parameters"})
        # Samplers that count (GridSampler, BruteForceSampler) end a study so, which Optuna allows in its own loop only.
        self._study.stop = self._note_tried_all  # type: ignore[method-assign]
        self._check_known(sweep)

    def _note_tried_all(self) -> None:
        self._study.set_user_attr(TRIED_ALL, self._asked)

    @property
    def tried_all(self) -> bool:
        """Whether the sampler has nothing left to try."""
        return bool(self._study.user_attrs.get(TRIED_ALL) == self._asked)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All of them, by number."""
        return self._study.get_trials(deepcopy=False)

    @property
    def best(self) -> FrozenTrial | None:
        """The best that is complete."""
        complete = [trial for trial in self.trials if trial.state is TrialState.COMPLETE]
        return self._study.best_trial if complete else None

    def running(self) -> list[Trial]:
        """Those that an earlier command began and nobody ended."""
        # Optuna's own way to a trial that another process began; it has no other name for its key.
        return [Trial(self._study, trial._trial_id) for trial in self.trials if trial.state is TrialState.RUNNING]

    def ask(self) -> Trial:
        """A new trial, with its parameters."""
        return self._study.ask(self._distributions)

    def report(self, trial: Trial, value: float, epoch: int) -> bool:
        """Note a value on the way; whether the trial is to end early."""
        if isnan(value):
            return False
        trial.report(value, epoch)
        return trial.should_prune()

    def note_steps(self, trial: Trial, steps: int) -> None:
        """How far a trial has come, before it is told to be over."""
        trial.set_user_attr(STEPS, steps)

    def complete(self, trial: Trial, metrics: Mapping[str, object]) -> float | None:
        """A trial came to its end: its value, or None where it has none, which fails it."""
        value = metrics.get(self._metric)
        if isinstance(value, (int, float)) and not isnan(value):
            self._study.tell(trial, float(value))
            return float(value)
        self.fail(trial, self._without_value(value, metrics))
        return None

    def prune(self, trial: Trial) -> None:
        """A trial was ended early."""
        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: Trial, why: str) -> None:
        """A trial failed."""
        trial.set_user_attr(WHY, why)
        self._study.tell(trial, state=TrialState.FAIL)

    def save_plot(self, path: Path) -> None:
        """Draw the values of all trials and the best so far."""
        import matplotlib  # a second to import, at the end only

        matplotlib.use("Agg")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            axes = optuna.visualization.matplotlib.plot_optimization_history(self._study, target_name=self._metric)
        figure = axes.get_figure(root=True)
        assert figure is not None
        figure.savefig(path, bbox_inches="tight")

    def _without_value(self, value: object, metrics: Mapping[str, object]) -> str:
        if value is not None:
            return f"{self._metric} = {value}: is no number to compare trials by"
        hint = did_you_mean(self._metric, list(metrics)) or "log it in the module"
        return f"the job logged no {self._metric!r}, only {', '.join(sorted(metrics)) or 'nothing'}; {hint}"

    def _check_known(self, sweep: SweepFile) -> None:
        """A study compares trials of the same parameters; other bounds are fine."""
        for trial in self.trials:
            if set(trial.distributions) != set(self._distributions):
                before, now = sorted(trial.distributions), sorted(self._distributions)
                raise SweepFileError(
                    f"parameters: the study {sweep.name!r} has trials of {', '.join(before)}, not of {', '.join(now)}; "
                    "give the sweep another name, or its parameters back"
                )


def distribution(parameter: Parameter) -> BaseDistribution:
    """Optuna's, of a parameter."""
    if isinstance(parameter, Categorical):
        return CategoricalDistribution(parameter.choices)
    if isinstance(parameter, Float):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _make(made: Made, field: str, module: Any) -> Any:
    """One of Optuna's own by its name, alone or with ``optuna.samplers`` before it: no other code is loaded."""
    prefix = f"{module.__name__}."
    name = made.class_path.removeprefix(prefix)
    known = [key for key in module.__all__ if isinstance(getattr(module, key), type)]
    if name not in known:
        hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
        raise SweepFileError(f"{field}.class_path = {made.class_path!r}: is no class of {module.__name__}; {hint}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return getattr(module, name)(**made.init_args)
    except (TypeError, ValueError) as error:
        raise SweepFileError(f"{field}.init_args: {name} does not take them: {error}") from error
