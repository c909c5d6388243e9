"""Attributes of the Trainer that are its options: read and written where the run reads them."""

from __future__ import annotations

from typing import Generic, Protocol, Self, TypeVar, overload

from thunderhead.run.options import Options

T = TypeVar("T")


class HasOptions(Protocol):
    """Whose attributes they are."""

    _options: Options


class Option(Generic[T]):
    """The attribute of the same name of ``Options``. Loops read the record itself: this costs four times as much."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self.__doc__ = f"See ``thunderhead.run.options.Options.{name}``."

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: HasOptions, owner: type) -> T: ...
    def __get__(self, instance: HasOptions | None, owner: type) -> Self | T:
        if instance is None:
            return self
        found: T = getattr(instance._options, self._name)
        return found

    def __set__(self, instance: HasOptions, value: T) -> None:
        setattr(instance._options, self._name, value)
