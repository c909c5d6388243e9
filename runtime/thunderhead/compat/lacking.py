"""What stands where a name of Lightning's has no counterpart: importable, and explained when used."""

from __future__ import annotations

from typing import Any, NoReturn

from thunderhead.exceptions import MisconfigurationException


class Lacking(type):
    """A class of which nothing is an instance, and that cannot be called, derived from or looked into."""

    _said: str

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Lacking:
        for base in bases:
            if isinstance(base, Lacking):
                base._refuse()
        return super().__new__(mcs, name, bases, namespace)

    def __call__(cls, *args: object, **kwargs: object) -> NoReturn:
        cls._refuse()

    def __getattr__(cls, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(f"{cls.__name__} has no attribute {name!r}")
        cls._refuse()

    def __instancecheck__(cls, instance: object) -> bool:
        return False

    def __subclasscheck__(cls, subclass: type) -> bool:
        return subclass is cls

    def __repr__(cls) -> str:
        return f"<{cls._said}>"

    def _refuse(cls) -> NoReturn:
        raise MisconfigurationException(cls._said)


def lacking(path: str, reason: str) -> Lacking:
    """The stand-in for the name at ``path``; ``reason`` says what to use instead."""
    return Lacking(path.rpartition(".")[2], (), {"_said": f"{path} is not available in Thunderhead: {reason}"})
