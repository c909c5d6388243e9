"""What loggers that write files take, and how they refuse the rest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers import CSVLogger, TensorBoardLogger

VERSION = "must be a number from 0 or the name of a directory; None takes the next free number"
BOTH = [
    ({"name": 3}, "name=3 must be text or None"),
    ({"version": -1}, f"version=-1 {VERSION}"),
    ({"version": 1.5}, f"version=1.5 {VERSION}"),
    ({"version": True}, f"version=True {VERSION}"),
    ({"prefix": 1}, "prefix=1 must be text or None"),
]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        *((kind, *case) for kind in (CSVLogger, TensorBoardLogger) for case in BOTH),
        (CSVLogger, {"flush_logs_every_n_steps": 0}, "flush_logs_every_n_steps=0 must be an integer of at least 1"),
        (CSVLogger, {"flush_logs_every_n_steps": "3"}, "flush_logs_every_n_steps='3' must be an integer of at least 1"),
        (TensorBoardLogger, {"log_graph": "no"}, "log_graph='no' must be True or False"),
        (TensorBoardLogger, {"default_hp_metric": "yes"}, "default_hp_metric='yes' must be True or False"),
    ],
)
def test_refused(kind: Any, options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=f"^{re.escape(f'{kind.__name__}: {said}')}"):
        kind(tmp_path, **options)


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
@pytest.mark.parametrize(
    ("options", "below"),
    [
        ({}, "lightning_logs/version_0"),
        ({"name": None, "version": 0, "prefix": None}, "version_0"),
        ({"name": "", "version": 7}, "version_7"),
        ({"name": "a", "version": "b"}, "a/b"),
        ({"name": "a", "version": Path("b")}, "a/b"),
        ({"name": "a", "version": np.int64(3)}, "a/version_3"),
    ],
)
def test_taken(kind: Any, options: dict[str, Any], below: str, tmp_path: Path) -> None:
    assert Path(kind(tmp_path, **options).log_dir) == tmp_path / below
