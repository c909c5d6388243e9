"""What ModelCheckpoint takes, and how it refuses the rest: by name, value, rule and remedy."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainer_line import Line, numbers, trainer

from thunderhead.callbacks import ModelCheckpoint
from thunderhead.exceptions import MisconfigurationException

SWITCHES = ("verbose", "save_on_exception", "save_weights_only", "auto_insert_metric_name", "enable_version_counter")


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"dirpath": 3}, TypeError, "ModelCheckpoint: dirpath=3 must be a directory or URL, as str or pathlib.Path"),
        ({"filename": 3}, MisconfigurationException, "ModelCheckpoint: filename=3 must be a name such as '{epoch}-"),
        ({"filename": Path("a")}, MisconfigurationException, "; directories go to dirpath"),
        (
            {"filename": "{epoch}-{val_loss:.2q}"},
            MisconfigurationException,
            "filename='{epoch}-{val_loss:.2q}' cannot write 'val_loss' as '.2q'; give a format of Python's, such as",
        ),
        ({"monitor": 3}, MisconfigurationException, "ModelCheckpoint: monitor=3 must be the name of a logged metric; "
            "None keeps the newest"),
        ({"monitor": ["loss"]}, MisconfigurationException, "monitor=['loss'] must be the name of a logged metric"),
        ({"monitor": ""}, MisconfigurationException, "monitor='' must be the name of a logged metric"),
        ({"save_last": "Link"}, MisconfigurationException, "save_last='Link' is none of True, False, None and 'link'."
            " Did you mean 'link'?"),
        ({"save_last": "copy"}, MisconfigurationException, "save_last='copy' is none of True, False, None and 'link'."),
        ({"save_last": 2}, MisconfigurationException, "save_last=2 must be True or False or None"),
        ({"save_last": ["link"]}, MisconfigurationException, "save_last=['link'] must be True or False or None"),
        ({"save_top_k": "3"}, MisconfigurationException, "ModelCheckpoint: save_top_k='3' must be an integer of at"),
        ({"save_top_k": 1.5}, MisconfigurationException, "save_top_k=1.5 must be an integer of at least -1"),
        ({"save_top_k": torch.tensor(1.5)}, MisconfigurationException, "must be an integer of at least -1"),
        ({"save_top_k": True}, MisconfigurationException, "save_top_k=True must be an integer of at least -1"),
        ({"save_top_k": None}, MisconfigurationException, "save_top_k=None must be an integer of at least -1"),
        ({"save_top_k": -2}, MisconfigurationException, "save_top_k=-2 must be an integer of at least -1"),
        ({"save_top_k": 3}, MisconfigurationException, "save_top_k=3 has nothing to rank by; pass monitor, or use -1"),
        ({"mode": "maximum"}, MisconfigurationException, "ModelCheckpoint: mode='maximum' does not exist. Did you mean "
            "'max'? There are min, max"),
        ({"mode": "best"}, MisconfigurationException, "mode='best' does not exist. There are min, max"),
        ({"mode": None}, MisconfigurationException, "mode=None does not exist. There are min, max"),
        ({"every_n_train_steps": -1}, MisconfigurationException, "every_n_train_steps=-1 must be an integer of at"),
        ({"every_n_train_steps": 2.5}, MisconfigurationException, "every_n_train_steps=2.5 must be an integer of at"),
        ({"every_n_epochs": -1}, MisconfigurationException, "every_n_epochs=-1 must be an integer of at least 0"),
        ({"every_n_epochs": "1"}, MisconfigurationException, "every_n_epochs='1' must be an integer of at least 0"),
        ({"train_time_interval": 5}, MisconfigurationException, "ModelCheckpoint: train_time_interval=5 is no "
            "duration; write 'DD:HH:MM:SS', a timedelta"),
        ({"train_time_interval": timedelta(-1)}, MisconfigurationException, "must not be negative"),
        ({"every_n_train_steps": 1, "every_n_epochs": 2}, MisconfigurationException, "ModelCheckpoint got "
            "every_n_train_steps=1 and every_n_epochs=2; pass one of them, or one callback for each"),
        ({"every_n_epochs": 1, "train_time_interval": timedelta(0)}, MisconfigurationException, "got every_n_epochs=1 "
            "and train_time_interval=datetime.timedelta(0); pass one of them"),
        ({"save_on_train_epoch_end": "yes"}, MisconfigurationException, "save_on_train_epoch_end='yes' must be True or "
            "False or None"),
        *(({name: "no"}, MisconfigurationException, f"ModelCheckpoint: {name}='no' must be True or False")
            for name in SWITCHES),
        *(({name: None}, MisconfigurationException, f"{name}=None must be True or False") for name in SWITCHES),
    ],
)  # fmt: skip
def test_refused(options: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=re.escape(said)):
        ModelCheckpoint(**options)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, {"save_last": None, "save_top_k": 1, "every_n_epochs": 1, "mode": "min"}),
        ({"save_last": 1}, {"save_last": True}),
        ({"save_last": False}, {"save_last": False}),
        ({"save_last": "link"}, {"save_last": "link"}),
        ({"verbose": 1}, {"verbose": True}),
        ({"verbose": np.bool_(True), "save_last": np.bool_(False)}, {"verbose": True, "save_last": False}),
        ({"every_n_epochs": np.int64(2)}, {"every_n_epochs": 2}),
        ({"every_n_epochs": 1e1}, {"every_n_epochs": 10}),
        ({"monitor": "loss", "save_top_k": torch.tensor(3)}, {"save_top_k": 3}),
        ({"every_n_train_steps": 3}, {"every_n_epochs": 0}),
        ({"every_n_train_steps": 0, "every_n_epochs": 2}, {"every_n_epochs": 2}),
        ({"every_n_epochs": 0}, {"every_n_epochs": 0}),
        ({"monitor": "loss", "save_top_k": 3, "mode": "max"}, {"save_top_k": 3, "mode": "max"}),
        ({"filename": "{epoch:03d}-{loss:.2f}-{n:d}-{:x}"}, {"filename": "{epoch:03d}-{loss:.2f}-{n:d}-{:x}"}),
    ],
)
def test_taken(options: dict[str, Any], kept: dict[str, Any]) -> None:
    made = ModelCheckpoint(**options)
    assert {name: getattr(made, name) for name in kept} == kept


@pytest.mark.parametrize("interval", [timedelta(hours=1), "00:01:00:00", {"hours": 1}])
def test_the_same_time_in_three_spellings_is_the_same_callback(interval: Any) -> None:
    assert ModelCheckpoint(train_time_interval=interval).state_key == (
        "ModelCheckpoint{'monitor': None, 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 0, "
        "'train_time_interval': datetime.timedelta(seconds=3600)}"
    )


def test_a_time_as_text_is_when_it_saves(tmp_path: Path) -> None:
    made = trainer(
        ModelCheckpoint(tmp_path, train_time_interval="00:00:00:00", save_top_k=-1), enable_checkpointing=None
    )
    made.fit(Line(), numbers(1, 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch=0-step=1.ckpt", "epoch=0-step=2.ckpt"]
