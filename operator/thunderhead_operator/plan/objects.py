"""Kubernetes objects as they come from JSON, and the few questions every part asks of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Obj = Mapping[str, Any]
Manifest = dict[str, Any]


def section(obj: Obj, *path: str) -> Obj:
    """The object under ``path``, or an empty one where it is absent or null."""
    found: Any = obj
    for key in path:
        found = found.get(key) or {}
    return found if isinstance(found, Mapping) else {}


def items(obj: Obj, *path: str) -> Iterator[Obj]:
    """The objects of the list under ``path``; nothing where it is absent."""
    found = section(obj, *path[:-1]).get(path[-1]) or []
    return (item for item in found if isinstance(item, Mapping))


def name_of(obj: Obj) -> str:
    """``metadata.name``."""
    return str(section(obj, "metadata").get("name", ""))


def uid_of(obj: Obj) -> str:
    """``metadata.uid``."""
    return str(section(obj, "metadata").get("uid", ""))


def owner_uid(obj: Obj) -> str | None:
    """Uid of the controller that owns the object, if any."""
    for reference in items(obj, "metadata", "ownerReferences"):
        if reference.get("controller"):
            return str(reference.get("uid"))
    return None


def int_label(obj: Obj, label: str, default: int = 0) -> int:
    """A label's number; ``default`` where it is absent or no number (anyone may edit labels)."""
    text = str(section(obj, "metadata", "labels").get(label, ""))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else default
