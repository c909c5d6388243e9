"""Options: what the arguments mean, read without a Trainer."""

from __future__ import annotations

import inspect
import math
from dataclasses import fields
from typing import Any

import pytest

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException
from thunderhead.run.options import Options, effective, read_options

DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(th.Trainer).parameters.items() if name != "self"
}


def read(**given: Any) -> Options:
    return read_options(effective({**DEFAULTS, **given}))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({}, {"max_epochs": None, "min_epochs": None, "num_sanity_val_steps": 2, "log_every_n_steps": 50}),
        ({"num_sanity_val_steps": -1}, {"num_sanity_val_steps": math.inf}),
        ({"limit_val_batches": "25%"}, {"limit_val_batches": 0.25}),
        ({"overfit_batches": 3}, {"limit_train_batches": 3, "limit_val_batches": 3, "limit_test_batches": 1.0}),
        ({"fast_dev_run": 4}, {"max_steps": 4, "max_epochs": 1, "limit_predict_batches": 4, "num_sanity_val_steps": 0}),
        ({"fast_dev_run": 1}, {"fast_dev_run": True}),
        ({"barebones": True}, {"log_every_n_steps": 0, "num_sanity_val_steps": 0}),
        ({"val_check_interval": "00:00:01:00"}, {"val_check_seconds": 60.0}),
        ({"gradient_clip_val": 1, "gradient_clip_algorithm": "NORM"}, {"gradient_clip_algorithm": "norm"}),
        ({"default_root_dir": "a"}, {"default_root_dir": "a", "root_argument": "Trainer(default_root_dir='a')"}),
    ],
)
def test_what_arguments_mean(given: dict[str, Any], meant: dict[str, Any]) -> None:
    options = read(**given)
    assert {name: getattr(options, name) for name in meant} == meant


@pytest.mark.parametrize("given", [{"barebones": True, "fast_dev_run": 1}, {"max_steps": -2}, {"fast_dev_run": -1}])
def test_what_means_nothing_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException, match=next(iter(given))):
        read(**given)


@pytest.mark.parametrize(
    ("given", "timed", "epochs", "by_default"),
    [
        ({}, False, (1000, 0), True),
        ({}, True, (-1, 0), False),
        ({"max_steps": 3}, False, (-1, 0), False),
        ({"max_epochs": 2, "min_steps": 3}, False, (2, 1), False),
        ({"max_epochs": 0, "min_epochs": 4}, True, (0, 4), False),
        ({"max_epochs": -1}, False, (-1, 0), False),
    ],
)
def test_a_fit_decides_on_what_was_left_open(
    given: dict[str, Any], timed: bool, epochs: tuple[int, int], by_default: bool
) -> None:
    options = read(**given)
    assert options.decide_on_epochs(lambda: timed) is by_default
    assert (options.max_epochs, options.min_epochs) == epochs
    assert not options.decide_on_epochs(lambda: timed), "once and for all"


def test_what_was_given_is_left_alone() -> None:
    given = {**DEFAULTS, "fast_dev_run": 2, "enable_checkpointing": None}
    before = dict(given)
    read_options(effective(given))
    assert given == before


def test_the_trainer_shows_and_changes_them() -> None:
    made = th.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    hidden = {"val_check_seconds", "root_argument", "default_root_dir"}
    for field in fields(Options):
        if field.name not in hidden:
            assert getattr(made, field.name) == getattr(made._options, field.name), field.name
    made.limit_val_batches = 3
    assert made._options.limit_val_batches == 3
