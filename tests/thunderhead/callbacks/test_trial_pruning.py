"""Trials of an Optuna study that end early, in one process and in two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState
from trainer_models import QUIET, Net, in_order, shuffled
from trainer_ranks import run_ranks
from trainer_resumes import WAYS, Resumes

import thunderhead as th
from thunderhead.callbacks import TrialPruning
from thunderhead.exceptions import MetricNotLogged, MisconfigurationException


class EndsAfter(BasePruner):
    """Finds every trial bad that has reported so many values."""

    def __init__(self, values: int) -> None:
        self.values = values

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return len(trial.intermediate_values) >= self.values


def a_study(values: int = 99) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(pruner=EndsAfter(values))


def fit(trial: optuna.Trial, *, monitor: str = "val_loss", validate: bool = True, **options: Any) -> th.Trainer:
    th.seed_everything(1, verbose=False)
    trainer = th.Trainer(**{**QUIET, "max_epochs": 3, "callbacks": [TrialPruning(trial, monitor)], **options})
    trainer.fit(Net(), shuffled(), in_order() if validate else None)
    return trainer


@pytest.mark.parametrize(
    ("values", "state", "epochs"), [(99, TrialState.COMPLETE, [0, 1, 2]), (2, TrialState.PRUNED, [0, 1])]
)
@pytest.mark.parametrize("options", [{}, {"monitor": "train_loss", "validate": False}, {"val_check_interval": 2}])
def test_a_trial_ends_where_the_study_says(
    values: int, state: TrialState, epochs: list[int], options: dict[str, Any]
) -> None:
    def objective(trial: optuna.Trial) -> float:
        return fit(trial, **options).callback_metrics[options.get("monitor", "val_loss")].item()

    study = a_study(values)
    study.optimize(objective, n_trials=1)
    assert study.trials[0].state is state
    assert sorted(study.trials[0].intermediate_values) == epochs


def test_it_says_in_which_epoch_and_at_what_value() -> None:
    with pytest.raises(optuna.TrialPruned, match=r"trial pruned in epoch 1: val_loss=\d"):
        fit(a_study(2).ask())


def test_a_metric_that_is_not_logged_is_named() -> None:
    with pytest.raises(MetricNotLogged, match="TrialPruning reports 'val_los', which was not logged"):
        fit(a_study().ask(), monitor="val_los")
    with pytest.raises(MisconfigurationException, match="monitor=None must be the name of a logged metric"):
        TrialPruning(a_study().ask(), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_goes_on_reports_no_epoch_again(tmp_path: Path, way: str) -> None:
    trials: list[optuna.Trial] = []

    def callbacks() -> list[th.Callback]:
        trials.append(a_study().ask())
        return [TrialPruning(trials[-1], "val_loss")]

    Resumes(callbacks, val_check_interval=2).check(tmp_path, 3, way)
    whole, first, rest = (trial.study.trials[0].intermediate_values for trial in trials)
    assert sorted(first) == [0]
    assert first | rest == whole
    assert sorted(rest) == [1]


def on_rank(rank: int) -> tuple[str, list[int]]:
    trial = a_study(2).ask()  # each rank has one, and rank 0's counts
    try:
        fit(trial, strategy="ddp")
    except optuna.TrialPruned as error:
        return str(error), sorted(trial.study.trials[0].intermediate_values)
    raise AssertionError("it was not pruned")


def test_two_ranks_end_together(tmp_path: Path) -> None:
    (said, reported), (also_said, nothing) = run_ranks(on_rank, 2, tmp_path)
    assert said.startswith("trial pruned in epoch 1")
    assert also_said.startswith("trial pruned in epoch 1")
    assert (reported, nothing) == ([0, 1], [])
