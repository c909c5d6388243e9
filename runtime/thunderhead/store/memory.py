"""Objects in memory, with a seam for faults: what tests explore crash points with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from thunderhead.store.objects import Body, NotFound, ObjectInfo, PreconditionFailed, Upload


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: ``put``, ``create`` (put where there is none), ``get``, ``size``, ``scan`` or ``delete``."""

    kind: str
    key: str

    @property
    def writes(self) -> bool:
        return self.kind in ("put", "create", "delete")


# Gets the operation and its effect; calls the effect never, once, later, or raises before or after it.
Perform = Callable[[Operation, Callable[[], Any]], Any]


def faultless(operation: Operation, effect: Callable[[], Any]) -> Any:
    """Carry the operation out."""
    return effect()


class MemoryStore:
    """An :class:`~thunderhead.store.objects.ObjectStore` over a dictionary.

    Args:
        objects: the dictionary, key to body; stores that share it see one another's writes.
        perform: stands between every call and its effect.
    """

    def __init__(self, objects: dict[str, bytes] | None = None, *, perform: Perform = faultless) -> None:
        self.objects = objects if objects is not None else {}
        self._perform = perform

    def uri(self, key: str = "") -> str:
        return f"memory:///{key}"

    def put(self, key: str, body: Body, *, if_none_match: bool = False) -> None:
        content = bytes(body)

        def effect() -> None:
            if if_none_match and key in self.objects:
                raise PreconditionFailed(f"{self.uri(key)} exists already")
            self.objects[key] = content

        self._perform(Operation("create" if if_none_match else "put", key), effect)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        body: bytes = self._perform(Operation("get", key), lambda: self._find(key))
        return body[start:] if length is None else body[start : start + length]

    def size(self, key: str) -> int:
        return int(self._perform(Operation("size", key), lambda: len(self._find(key))))

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]:
        def effect() -> list[ObjectInfo]:
            found = sorted(key for key in self.objects if key.startswith(prefix))
            return [ObjectInfo(key, len(self.objects[key])) for key in found]

        return iter(self._perform(Operation("scan", prefix), effect))

    def delete(self, key: str) -> None:
        self._perform(Operation("delete", key), lambda: self.objects.pop(key, None))

    def uploads(self, prefix: str) -> list[Upload]:
        return []

    def abandon(self, upload: Upload) -> None:
        raise AssertionError(f"{upload}: a write to memory is never half done")

    def _find(self, key: str) -> bytes:
        if key not in self.objects:
            raise NotFound(f"{self.uri(key)}: no such object")
        return self.objects[key]
