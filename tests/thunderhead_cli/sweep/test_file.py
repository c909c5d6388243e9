"""What a sweep file may say, and what is said of one that cannot be used."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from thunderhead_cli.jobfile import JobFile, read_job_file
from thunderhead_cli.sweep.file import SweepFileError, read_sweep_file
from thunderhead_cli.sweep.study import Study
from thunderhead_cli.sweep.trial_job import check_job, trial_job

from .sweep_world import JOB, a_sweep

EXAMPLE = Path(__file__).parents[3] / "examples/digits/sweep.yaml"
GOOD: dict[str, Any] = {
    "name": "lr",
    "job": "job.yaml",
    "trials": 2,
    "objective": {"metric": "val_loss"},
    "parameters": {"module.init_args.lr": {"type": "float", "low": 0.1, "high": 1}},
}


def with_changes(*changes: tuple[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(GOOD)
    for path, value in changes:
        at = made
        *above, last = path.split("/")
        for word in above:
            at = at[word]
        at[last] = value
    return made


LR = "parameters/module.init_args.lr"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([("trails", 3)], "trails: unknown field; did you mean 'trials'?"),
        ([("trials", 0)], "trials = 0: Input should be greater than 0"),
        ([("name", "Not A Name")], "name = 'Not A Name'"),
        ([("name", "a" * 35)], "must be at most 34 characters"),
        ([("objective/direction", "up")], "objective.direction = 'up': Input should be 'minimize' or 'maximize'"),
        ([("objective/metrics", "x")], "objective.metrics: unknown field; did you mean 'metric'?"),
        ([("parameters", {})], "parameters: Dictionary should have at least 1 item"),
        ([(f"{LR}/low", 2)], "parameters.module.init_args.lr: low = 2.0 is more than high = 1.0; exchange them"),
        ([(f"{LR}/low", 0), (f"{LR}/log", True)], "low = 0.0: must be more than 0 where log is true"),
        ([(f"{LR}/step", 0.1), (f"{LR}/log", True)], "step and log exclude each other"),
        ([(f"{LR}/hihg", 3)], "parameters.module.init_args.lr.hihg: unknown field; did you mean 'high'?"),
        ([(f"{LR}/type", "flaot")], "'float', 'int', 'categorical'"),
        ([(LR, {"type": "categorical", "choices": []})], "parameters.module.init_args.lr.choices: List should have"),
    ],
)
def test_what_is_wrong_is_said_with_path_value_and_rule(
    tmp_path: Path, changes: list[tuple[str, Any]], said: str
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(with_changes(*changes)))
    with pytest.raises(SweepFileError) as error:
        read_sweep_file(path)
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("modul.init_args.lr", "parameters.modul.init_args.lr: spec has no 'modul'; did you mean 'module'?"),
        ("trainer.callbacks.1.init_args.x", "'1' is no place in a list of 1; they count from 0"),
        ("trainer.max_epochs.x", "spec.trainer.max_epochs is 3, which holds no fields"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path: str, said: str) -> None:
    with pytest.raises(SweepFileError, match="parameters") as error:
        trial_job(JOB, "lr", 0, {path: 1})
    assert said in str(error.value)


def test_a_trial_has_its_own_name_and_values_and_the_job_keeps_its() -> None:
    before = copy.deepcopy(JOB)
    made = trial_job(JOB, "lr", 7, {"module.init_args.lr": 0.5, "trainer.callbacks.0.init_args.x": 1, "nodes": 2})
    assert made["metadata"] == {"name": "lr-7", "labels": {"thunderhead.dev/sweep": "lr"}}
    assert made["spec"] == {
        "module": {"class_path": "a.B", "init_args": {"lr": 0.5}},
        "trainer": {"max_epochs": 3, "callbacks": [{"class_path": "c.D", "init_args": {"x": 1}}]},
        "nodes": 2,
    }
    assert before == JOB


def test_both_ends_of_a_parameter_are_held_against_the_schema() -> None:
    job = read_job_file(EXAMPLE.parent / "job.yaml")
    sweep = a_sweep(parameters={"nodes": {"type": "int", "low": 1, "high": 100_000}})
    with pytest.raises(SweepFileError, match=r"spec\.nodes = 100000"):
        check_job(sweep, job)
    sweep = a_sweep(parameters={"module.init_args.lr": {"type": "float", "low": 1, "high": 2}})
    check_job(sweep, JobFile(job.path, job.job, {}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sampler": {"class_path": "TPESample"}}, "'TPESample': is no class of optuna.samplers; did you mean 'TPESa"),
        ({"pruner": {"class_path": "os.system"}}, "pruner.class_path = 'os.system': is no class of optuna.pruners"),
        ({"pruner": {"class_path": "MedianPruner", "init_args": {"x": 1}}}, "pruner.init_args: MedianPruner does not"),
        ({"storage": "nosql://x"}, "storage = 'nosql://x': cannot be used"),
    ],
)
def test_what_optuna_does_not_take_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SweepFileError) as error:
        Study(a_sweep(**changes), tmp_path)
    assert said in str(error.value)


def test_a_study_has_one_set_of_parameters(tmp_path: Path) -> None:
    Study(a_sweep(), tmp_path).ask()
    Study(a_sweep(trials=9), tmp_path)
    with pytest.raises(
        SweepFileError, match=r"has trials of module\.init_args\.lr, not of nodes; give the sweep another"
    ):
        Study(a_sweep(parameters={"nodes": {"type": "int", "low": 1, "high": 2}}), tmp_path)


def test_the_example_can_be_run() -> None:
    sweep = read_sweep_file(EXAMPLE)
    check_job(sweep, read_job_file(sweep.job))
