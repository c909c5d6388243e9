"""Which parts of a checkpoint a store takes."""

from __future__ import annotations

import re
from typing import Final

from thunderhead.job.errors import InvalidConfiguration
from thunderhead.job.parts import LOCAL, REPLICATED, Kind, Parts

# It is part of the shards' keys.
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


def may_be_named(name: str, kind: Kind) -> bool:
    """A part that bears the name of a kind is of that kind: so the first release says what kind a shard is of."""
    return _NAME.fullmatch(name) is not None and (name not in set(Kind) or name == kind)


def refuse_unsavable(parts: Parts) -> None:
    """Refuse parts that no checkpoint can hold.

    Raises:
        InvalidConfiguration: one is sharded or has a name that it may not have, or one that all have is missing.
    """
    for name in (REPLICATED, LOCAL):
        if name not in parts:
            raise InvalidConfiguration(f"the job checkpoint has no part {name!r}; every checkpoint has one, if empty")
    for name, part in parts.items():
        if part.kind is Kind.SHARDED:
            raise InvalidConfiguration(
                f"part {name!r} of the job checkpoint is sharded, and sharded saves are not built yet; gather it on "
                "every rank and save it as a replicated part"
            )
        if not may_be_named(name, part.kind):
            raise InvalidConfiguration(
                f"a {part.kind} part of the job checkpoint is named {name!r}; take lower-case letters, digits and _, "
                "40 at most, and no other kind's name"
            )
