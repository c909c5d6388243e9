"""A number that module, datamodule or the hyperparameters of either hold under a name, such as ``lr``."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from thunderhead.exceptions import NoSuchField


class Field:
    """All places of one name, which are read and written together.

    Args:
        name: of the field.
        *owners: a module, and a datamodule or None.

    Raises:
        NoSuchField: none of them has it.
    """

    def __init__(self, name: str, *owners: object) -> None:
        self.name = name
        self._holders = list(_holders(name, owners))
        if not self._holders:
            known = " or ".join(type(owner).__name__ for owner in owners if owner is not None)
            raise NoSuchField(
                f"there is no {name!r} in {known}, nor in their hyperparameters; set self.{name} in __init__, and use "
                "it where it counts"
            )

    def get(self) -> Any:
        """Its value: the attribute's, where there is one."""
        holder = self._holders[0]
        return holder[self.name] if isinstance(holder, MutableMapping) else getattr(holder, self.name)

    def set(self, value: object) -> None:
        """Write it to all places."""
        for holder in self._holders:
            if isinstance(holder, MutableMapping):
                holder[self.name] = value
            else:
                setattr(holder, self.name, value)


def has_field(name: str, *owners: object) -> bool:
    """Whether one of them has it."""
    return any(True for _ in _holders(name, owners))


def _holders(name: str, owners: tuple[object, ...]) -> Iterator[Any]:
    for owner in owners:
        if owner is None:
            continue
        if hasattr(owner, name):
            yield owner
        hparams = getattr(owner, "hparams", None)
        if name in hparams if isinstance(hparams, MutableMapping) else hasattr(hparams, name):
            yield hparams
