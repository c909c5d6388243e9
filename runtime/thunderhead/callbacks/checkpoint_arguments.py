"""Reading ModelCheckpoint's arguments. All pure: a value in, its meaning out, or an error that says what to write."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from thunderhead.arguments import duration, switch, whole_number
from thunderhead.callbacks.checkpoint_policy import Triggers
from thunderhead.exceptions import MisconfigurationException, did_you_mean

# A field of a file's name: its metric, and a format behind a colon.
FIELD: Final = re.compile(r"\{([^{}:]*)(:[^{}]*)?\}")


def metric_name(value: object) -> str | None:
    """``monitor``.

    Raises:
        MisconfigurationException: no text, or empty.
    """
    if value is not None and (not isinstance(value, str) or not value):
        raise MisconfigurationException(
            f"ModelCheckpoint: monitor={value!r} must be the name of a logged metric; None keeps the newest"
        )
    return value


def name_template(value: object) -> str | None:
    """``filename``, each of whose fields can be filled with a number.

    Raises:
        MisconfigurationException: no text, or the format of a field is none.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise MisconfigurationException(
            f"ModelCheckpoint: filename={value!r} must be a name such as '{{epoch}}-{{val_loss:.2f}}'; "
            "directories go to dirpath"
        )
    for name, form in FIELD.findall(value):
        # Whether a metric will be an integer is known when it is logged, so what fits either is fine.
        if not any(_fits(number, form[1:]) for number in (1, 1.0)):
            raise MisconfigurationException(
                f"ModelCheckpoint: filename={value!r} cannot write {name!r} as {form[1:]!r}; "
                "give a format of Python's, such as {epoch:03d} or {val_loss:.2f}"
            )
    return value


def _fits(number: float, form: str) -> bool:
    try:
        format(number, form)
    except ValueError:
        return False
    return True


def how_many(save_top_k: object, monitor: str | None) -> int:
    """``save_top_k``.

    Raises:
        MisconfigurationException: no integer from -1, or several although there is nothing to rank by.
    """
    kept: int = whole_number("ModelCheckpoint: save_top_k", save_top_k, least=-1)
    if monitor is None and kept not in (-1, 0, 1):
        raise MisconfigurationException(
            f"ModelCheckpoint: save_top_k={kept} has nothing to rank by; pass monitor, or use -1 (all), 0 or 1"
        )
    return kept


def last_kind(value: object) -> bool | str | None:
    """``save_last``: True, False, None or ``"link"``.

    Raises:
        MisconfigurationException: anything else.
    """
    if isinstance(value, str) and value != "link":
        raise MisconfigurationException(
            f"ModelCheckpoint: save_last={value!r} is none of True, False, None and 'link'."
            f"{did_you_mean(value, ['link'])}"
        )
    return value if isinstance(value, str) else switch("ModelCheckpoint: save_last", value, optional=True)


def triggers_of(steps: object, epochs: object, interval: object) -> tuple[Triggers, timedelta | None]:
    """What makes a save due, and ``train_time_interval`` in one form: every epoch where nothing is given.

    Raises:
        MisconfigurationException: more than one, or one that is no number from 0 or no length of time.
    """
    by_steps = whole_number("ModelCheckpoint: every_n_train_steps", steps, least=0, optional=True)
    by_epochs = whole_number("ModelCheckpoint: every_n_epochs", epochs, least=0, optional=True)
    span = duration("ModelCheckpoint: train_time_interval", interval)
    given = {"every_n_train_steps": by_steps, "every_n_epochs": by_epochs, "train_time_interval": interval}
    used = [f"{name}={value!r}" for name, value in given.items() if value is not None and value != 0]
    if len(used) > 1:
        raise MisconfigurationException(
            f"ModelCheckpoint got {' and '.join(used)}; pass one of them, or one callback for each"
        )
    if by_steps is None and by_epochs is None and span is None:
        by_epochs = 1
    seconds = None if span is None else span.total_seconds()
    return Triggers(every_n_train_steps=by_steps or 0, every_n_epochs=by_epochs or 0, interval_s=seconds), span
