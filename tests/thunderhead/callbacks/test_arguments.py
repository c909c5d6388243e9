"""Arguments of callbacks: what each refuses, in which words, and that neighbours of the refused are taken."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch

from thunderhead import callbacks
from thunderhead.exceptions import MisconfigurationException

INTEGER = "must be an integer of at least"
SWITCH = "must be True or False"
NUMBER = "must be a number"

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("Timer", {"duration": "5 minutes"}, "Timer: duration='5 minutes' is no duration; write 'DD:HH:MM:SS'"),
    ("Timer", {"duration": 60}, "Timer: duration=60 is no duration"),
    ("Timer", {"duration": timedelta(seconds=-1)}, "must not be negative"),
    ("Timer", {"duration": {"seconds": -1}}, "must not be negative"),
    ("Timer", {"interval": "batch"}, r"Timer\(interval='batch'\) is neither 'step' nor 'epoch'"),
    ("Timer", {"verbose": "no"}, f"Timer: verbose='no' {SWITCH}"),
    ("TQDMProgressBar", {"refresh_rate": -1}, f"TQDMProgressBar: refresh_rate=-1 {INTEGER} 0"),
    ("TQDMProgressBar", {"refresh_rate": 0.5}, f"TQDMProgressBar: refresh_rate=0.5 {INTEGER} 0"),
    ("TQDMProgressBar", {"leave": "yes"}, f"TQDMProgressBar: leave='yes' {SWITCH}"),
    ("TQDMProgressBar", {"interval_s": "10"}, f"TQDMProgressBar: interval_s='10' {NUMBER} of at least 0"),
    ("RichProgressBar", {"refresh_rate": True}, f"RichProgressBar: refresh_rate=True {INTEGER} 0"),
    ("RichProgressBar", {"theme": {"time": "dim"}}, "RichProgressBar: theme=.* must be a RichProgressBarTheme"),
    ("RichProgressBar", {"console_kwargs": ["width"]}, "RichProgressBar: console_kwargs=.* must be a dict of rich"),
    ("LineProgress", {"interval_s": -1}, f"LineProgress: interval_s=-1 {NUMBER} of at least 0"),
    ("LineProgress", {"interval_s": float("nan")}, f"LineProgress: interval_s=nan {NUMBER} of at least 0"),
    ("TerminalProgress", {"refresh_rate": "1"}, f"TerminalProgress: refresh_rate='1' {INTEGER} 0"),
    ("ModelSummary", {"max_depth": -2}, f"ModelSummary: max_depth=-2 {INTEGER} -1"),
    ("ModelSummary", {"max_depth": "full"}, f"ModelSummary: max_depth='full' {INTEGER} -1"),
    ("RichModelSummary", {"max_depth": 1.5}, f"RichModelSummary: max_depth=1.5 {INTEGER} -1"),
    ("OnExceptionCheckpoint", {"dirpath": "a", "filename": ""}, "filename='' must be a name without extension"),
    ("OnExceptionCheckpoint", {"dirpath": "a", "filename": 3}, "OnExceptionCheckpoint: filename=3 must be a name"),
    ("GradientAccumulationScheduler", {"scheduling": [4, 2]}, r"scheduling=\[4, 2\]\) must be a dict {epoch: factor}"),
    ("GradientAccumulationScheduler", {"scheduling": {"4": 2}}, f"epoch '4' {INTEGER} 0"),
    ("GradientAccumulationScheduler", {"scheduling": {4: 0}}, f"factor 0 {INTEGER} 1"),
    ("LambdaCallback", {"on_fit_strat": print}, "no hook 'on_fit_strat'. Did you mean 'on_fit_start'?"),
    (
        "LambdaCallback",
        {"on_fit_start": 3},
        "on_fit_start=3 must be a function of the hook's arguments, or None",
    ),
    ("EarlyStopping", {"monitor": None}, "EarlyStopping: monitor=None must be the name of a logged metric"),
    ("EarlyStopping", {"monitor": ""}, "EarlyStopping: monitor='' must be the name of a logged metric"),
    ("EarlyStopping", {"monitor": "a", "min_delta": "1"}, f"EarlyStopping: min_delta='1' {NUMBER}$"),
    ("EarlyStopping", {"monitor": "a", "patience": 1.5}, f"EarlyStopping: patience=1.5 {INTEGER} 0"),
    ("EarlyStopping", {"monitor": "a", "mode": "auto"}, "mode='auto'"),
    ("EarlyStopping", {"monitor": "a", "stopping_threshold": "0.9"}, f"stopping_threshold='0.9' {NUMBER} or None"),
    ("EarlyStopping", {"monitor": "a", "divergence_threshold": True}, f"divergence_threshold=True {NUMBER} or None"),
    ("EarlyStopping", {"monitor": "a", "log_rank_zero_only": "0"}, f"log_rank_zero_only='0' {SWITCH}"),
    ("EarlyStopping", {"monitor": "a", "check_on_train_epoch_end": "end"}, f"end='end' {SWITCH} or None"),
]


@pytest.mark.parametrize(("name", "arguments", "said"), REFUSED)
def test_refused(name: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(MisconfigurationException, match=said):
        getattr(callbacks, name)(**arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Timer", {"duration": timedelta(0)}),
        ("Timer", {"duration": None, "verbose": 0}),
        ("TQDMProgressBar", {"refresh_rate": 0, "leave": True, "interval_s": 0.5}),
        ("RichProgressBar", {"theme": callbacks.RichProgressBarTheme(time="dim"), "console_kwargs": {"width": 80}}),
        ("LineProgress", {"interval_s": float("inf")}),
        ("ModelSummary", {"max_depth": -1}),
        ("OnExceptionCheckpoint", {"dirpath": "a", "filename": "failed"}),
        ("GradientAccumulationScheduler", {"scheduling": {0: 1}}),
        ("LambdaCallback", {"on_fit_start": None, "setup": print}),
        ("EarlyStopping", {"monitor": "a", "patience": float("inf"), "log_rank_zero_only": np.bool_(True)}),
        ("EarlyStopping", {"monitor": "a", "patience": np.int64(3)}),
        ("EarlyStopping", {"monitor": "a", "min_delta": -1, "stopping_threshold": np.float32(0.5)}),
        ("EarlyStopping", {"monitor": "a", "divergence_threshold": torch.tensor(0.5), "check_on_train_epoch_end": 1}),
    ],
)
def test_taken(name: str, arguments: dict[str, Any]) -> None:
    getattr(callbacks, name)(**arguments)


def test_a_hook_that_is_none_is_not_called() -> None:
    made = callbacks.LambdaCallback(on_fit_start=None)
    assert "on_fit_start" not in vars(made)
