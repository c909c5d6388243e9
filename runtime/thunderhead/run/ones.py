"""What is understood by 1, where 1.0 is something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_MEANT: Final = {
    **dict.fromkeys(
        (*(f"limit_{stage}_batches" for stage in ("train", "val", "test", "predict")), "overfit_batches"),
        "one batch; 1.0 is all of them",
    ),
    "val_check_interval": "validation after each batch; 1.0 is once per epoch",
}


def understood(given: Mapping[str, Any]) -> Iterator[str]:
    """A line for each Trainer argument in ``given`` that is the integer 1, and not a share."""
    for name, meant in _MEANT.items():
        if type(given[name]) is int and given[name] == 1:
            yield f"Trainer({name}=1) means {meant}"
