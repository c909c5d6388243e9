"""What a restore leaves for later moments of the run: each is taken once, when its moment comes.

Until then it is what a file holds that is written meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(slots=True)
class Left:
    """Parts of a checkpoint that wait.

    Attributes:
        file: the file that training is to go on from, until optimizers are there to take their state.
        data: where the training loaders stood, for when they are loaded.
        validation_data: which validation loaders had started their processes, for when they are loaded.
        random: state of every generator, for when everything that a resume does is done.
        hand: the batch that was in hand, its number, and what its step returned.
        gradients: of an accumulation window that was open, by parameter.
    """

    file: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    validation_data: list[dict[str, Any]] | None = None
    random: dict[str, Any] | None = None
    hand: dict[str, Any] | None = None
    gradients: dict[str, Any] | None = None

    def take(self, name: str) -> Any:
        """A part, which is then no longer there."""
        found = getattr(self, name)
        setattr(self, name, None)
        return found

    def leave(self, parts: dict[str, Any]) -> None:
        """Keep what of ``parts`` is one of ours."""
        for field in fields(self):
            if field.name in parts:
                setattr(self, field.name, parts[field.name])
