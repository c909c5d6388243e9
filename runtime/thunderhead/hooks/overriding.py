"""Whether somebody's object has a hook of its own."""

from __future__ import annotations

from typing import Final

# A class whose hooks do nothing until they are overridden says so by an attribute of this name, set in its own body.
MARK: Final = "_declares_hooks"


def is_overridden(name: str, instance: object, base: type | None = None) -> bool:
    """Whether ``instance`` (or its class) has a hook ``name`` of its own, rather than that of ``base``."""
    if instance is None:
        return False
    if name in getattr(instance, "__dict__", {}):
        return True
    base = base or base_of(type(instance))
    own = getattr(type(instance), name, None)
    return own is not None and own is not getattr(base, name, None)


def base_of(kind: type) -> type:
    """The class of ours that ``kind`` derives from; ``object`` where it derives from none."""
    return next((cls for cls in kind.__mro__ if MARK in vars(cls)), object)
