"""What a sweep makes of what it sees of its trials."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from optuna.trial import TrialState

from thunderhead_cli.sweep.runner import Seen, Stand

from .sweep_world import Table, a_drive, a_sweep, at, done

C, P, F, R = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING
FAILED = at(1, 0.5, Stand.FAILED, "UserError: no such column")


@pytest.mark.parametrize(
    ("last", "state", "said"),
    [
        (done(0.25), C, "trial 0 is complete: val_loss=0.25; the best so far"),
        (FAILED, F, "trial 0 failed: UserError: no such column"),
        (done(None), F, "trial 0 failed: the job logged no 'val_loss', only nothing; log it in the module"),
        (done("nan"), F, "trial 0 failed: val_loss = nan: is no number to compare trials by"),
        (
            Seen(stand=Stand.COMPLETE, metrics={"val_los": 1.0}),
            F,
            "trial 0 failed: the job logged no 'val_loss', only val_los; did you mean 'val_los'?",
        ),
    ],
)
async def test_how_a_trial_ends(tmp_path: Path, last: Seen, state: TrialState, said: str) -> None:
    drive, study, out = a_drive(a_sweep(trials=1), Table({0: [at(0), last]}), tmp_path)
    await drive.run_to_end()
    assert [trial.state for trial in study.trials] == [state]
    assert said in out.getvalue()
    assert not drive.stopped


async def test_a_failed_trial_counts_and_the_others_run(tmp_path: Path) -> None:
    runner = Table({0: [done(0.5)], 1: [FAILED], 2: [done(0.25)]})
    drive, study, _ = a_drive(a_sweep(), runner, tmp_path)
    await drive.run_to_end()
    assert [trial.state for trial in study.trials] == [C, F, C]
    assert study.best is not None
    assert study.best.number == 2
    assert runner.jobs[2]["spec"]["module"]["init_args"] == {"lr": study.best.params["module.init_args.lr"]}
    assert [trial.user_attrs["steps"] for trial in study.trials] == [30, 10, 30]


@pytest.mark.parametrize("name", ["GridSampler", "BruteForceSampler"])
async def test_a_sampler_that_has_tried_everything_ends_the_sweep(tmp_path: Path, name: str) -> None:
    path = "module.init_args.lr"
    made = {"class_path": name, "init_args": {"search_space": {path: [0.0, 0.5]}} if name == "GridSampler" else {}}
    parameters = {path: {"type": "categorical", "choices": [0.0, 0.5]}}
    sweep = a_sweep(trials=5, sampler=made, parameters=parameters)
    runner = Table({number: [done(0.5)] for number in range(5)})
    drive, study, _ = a_drive(sweep, runner, tmp_path)
    await drive.run_to_end()
    assert sorted(trial.params[path] for trial in study.trials) == [0.0, 0.5]

    again, study, _ = a_drive(sweep, runner, tmp_path)
    await again.run_to_end()
    assert [trial.state for trial in study.trials] == [C, C], "the next command knows it"


@pytest.mark.parametrize("parallel", [1, 2, 3])
async def test_no_more_run_at_once_than_asked_for(tmp_path: Path, parallel: int) -> None:
    runner = Table({number: [at(0), at(1), done(number)] for number in range(5)})
    drive, study, _ = a_drive(a_sweep(trials=5, parallel=parallel), runner, tmp_path)
    await drive.run_to_end()
    assert runner.at_once == parallel
    assert len(study.trials) == 5


async def test_a_trial_worse_than_the_median_is_ended_early_and_has_not_failed(tmp_path: Path) -> None:
    pruner = {"class_path": "MedianPruner", "init_args": {"n_startup_trials": 2, "n_warmup_steps": 0}}
    good = [at(0, 0.5), at(1, 0.4), done(0.4)]
    runner = Table({0: list(good), 1: list(good), 2: [at(0), at(0, 0.9), at(1, 0.9)]})
    drive, study, out = a_drive(a_sweep(pruner=pruner), runner, tmp_path)
    await drive.run_to_end()
    assert [trial.state for trial in study.trials] == [C, C, P]
    assert runner.stopped == [2]
    assert "trial 2 is ended early: val_loss=0.9" in out.getvalue()
    assert study.trials[2].value == 0.9


async def test_a_value_is_judged_in_the_epoch_in_which_it_was_new(tmp_path: Path) -> None:
    seen = [at(0), at(0, 0.9), at(1, 0.9), at(1, 0.8), at(1, 0.7), at(2, "nan"), at(2, 0.6), done(0.5)]
    drive, study, _ = a_drive(a_sweep(trials=1), Table({0: seen}), tmp_path)
    await drive.run_to_end()
    assert study.trials[0].intermediate_values == {0: 0.9, 1: 0.8, 2: 0.6}


async def test_stopped_trials_go_on_with_the_next_command(tmp_path: Path) -> None:
    sweep = a_sweep(trials=3, parallel=2)
    first = Table({0: [at(0, 0.5)], 1: [at(0, 0.6)]})
    drive, study, out = a_drive(sweep, first, tmp_path)
    running = asyncio.ensure_future(drive.run_to_end())
    await first.all_began.wait()
    drive.ask_to_stop()
    await running
    assert (first.stopped, first.killed, drive.stopped, drive.killed) == ([0, 1], False, True, False)
    assert [trial.state for trial in study.trials] == [R, R]

    second = Table({number: [done(number)] for number in range(3)})
    drive, study, out = a_drive(sweep, second, tmp_path)
    await drive.run_to_end()
    assert second.started == [0, 1, 2]
    assert "trial 0 goes on: lr=" in out.getvalue()
    assert [trial.state for trial in study.trials] == [C, C, C]


async def test_asked_twice_it_waits_for_nobody(tmp_path: Path) -> None:
    runner = Table({0: [at(0)]})
    runner.stop = _never  # type: ignore[method-assign]
    drive, study, _ = a_drive(a_sweep(trials=1), runner, tmp_path)
    running = asyncio.ensure_future(drive.run_to_end())
    await runner.all_began.wait()
    drive.ask_to_stop()
    drive.ask_to_stop()
    await running
    assert runner.killed
    assert drive.killed
    assert [trial.state for trial in study.trials] == [R]


async def test_one_that_somebody_else_stopped_is_left_for_the_next_command(tmp_path: Path) -> None:
    drive, study, _ = a_drive(a_sweep(trials=2), Table({0: [at(1, 0.5, Stand.STOPPED)]}), tmp_path)
    await drive.run_to_end()
    assert drive.stopped
    assert [trial.state for trial in study.trials] == [R]


async def _never(number: int) -> None:
    """A trial that does not hear."""
