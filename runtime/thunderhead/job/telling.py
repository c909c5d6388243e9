"""Which of many logged values are told where there is room for a few: what people steer by comes first."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

_ADDED: Final = ("samples_per_second", "epoch", "step")
_COPIES: Final = ("_step", "_epoch")


def most_telling(names: Iterable[str], *, watched: Collection[str] = (), validated: Collection[str] = ()) -> list[str]:
    """``names``, the most telling first.

    What callbacks watch, then losses, what validation logged, everything else, what the runtime adds, learning rates
    last: there may be one per group of parameters. A value comes before its newest step and the epoch's copy of it.

    Args:
        names: of logged values.
        watched: names that callbacks decide by.
        validated: names that validation logged, whatever they are called.
    """

    def worth(name: str) -> int:
        plain = name.partition("/dataloader_idx_")[0]
        if name in watched:
            return 0
        if "loss" in name.lower():
            return 1
        if plain in validated or _without_copy(plain) in validated or name.lower().startswith(("val", "test")):
            return 2
        if name == "lr" or name.startswith(("lr-", "lr_", "lr/")):
            return 5
        return 4 if name in _ADDED else 3

    return sorted(names, key=lambda name: (worth(name), name.endswith(_COPIES) and name not in watched, name))


def _without_copy(name: str) -> str:
    for suffix in _COPIES:
        name = name.removesuffix(suffix)
    return name
