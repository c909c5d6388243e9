"""Numbers of batches and shares of them, which a job writes so that 1 and 1.0 cannot be mistaken for one another."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

NAMES: Final = (
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "limit_predict_batches",
    "overfit_batches",
    "val_check_interval",
)
_SHARE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")
_BATCHES: Final = re.compile(r"([0-9]+) batch(?:es)?")


def for_job(value: object) -> object:
    """0.25 → ``25%``, 1 → ``1 batch``; another number of batches as it is."""
    if isinstance(value, float):
        return f"{_plain(Decimal(repr(value)) * 100)}%"
    return "1 batch" if value == 1 and value is not True and not isinstance(value, str) else value


def for_config(value: object) -> object:
    """``25%`` → 0.25, ``1 batch`` → 1."""
    if not isinstance(value, str):
        return value
    if (share := _SHARE.fullmatch(value)) is not None:
        return float(Decimal(share[1]) / 100)
    return int(batches[1]) if (batches := _BATCHES.fullmatch(value)) is not None else value


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
