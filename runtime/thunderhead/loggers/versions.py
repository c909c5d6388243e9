"""Loggers that write files: those of each run lie in a directory of its own, ``<save_dir>/<name>/version_<n>``."""

from __future__ import annotations

import operator
import os
from typing import SupportsIndex

from thunderhead.arguments import directory, text
from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.schemes import place_of
from thunderhead.loggers.logger import Logger


class VersionedLogger(Logger):
    """What such loggers share.

    Args:
        kind: what the user calls it, for messages about arguments.
        save_dir: directory or URL of all experiments.
        name: name of this one; may be empty.
        version: a number or name; by default the next free number.
        prefix: put before every metric's name, with a dash.
    """

    def __init__(self, kind: str, save_dir: object, name: str | None, version: object, prefix: str) -> None:
        self._save_dir = directory(f"{kind}: save_dir", save_dir)
        self._name: str = text(f"{kind}: name", name, optional=True) or ""
        self._version = _given_version(f"{kind}: version", version)
        self._prefix: str = text(f"{kind}: prefix", prefix, optional=True) or ""

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self._name

    @property
    def version(self) -> int | str:
        """The given version, or the next free number."""
        if self._version is None:
            self._version = _next_version(self.root_dir)
        return self._version

    @property
    def save_dir(self) -> str:
        """Directory of all experiments."""
        return self._save_dir

    @property
    def root_dir(self) -> str:
        """Directory of all versions."""
        return os.path.join(self._save_dir, self._name)

    @property
    def log_dir(self) -> str:
        """Directory of this version."""
        version = self.version if isinstance(self.version, str) else f"version_{self.version}"
        return os.path.join(self.root_dir, version)

    def _prefixed(self, name: str) -> str:
        return f"{self._prefix}-{name}" if self._prefix else name


def _given_version(name: str, value: object) -> int | str | None:
    if value is None or isinstance(value, (str, os.PathLike)):
        return None if value is None else os.fspath(value)
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or operator.index(value) < 0:
        raise MisconfigurationException(
            f"{name}={value!r} must be a number from 0 or the name of a directory; None takes the next free number"
        )
    return operator.index(value)


def _next_version(root: str) -> int:
    """One more than the highest ``version_<n>`` under ``root``, a directory or URL; 0 where there is none."""
    place = place_of(root)
    numbers = [name.removeprefix("version_") for name in place.names(root) if name.startswith("version_")]
    for number in sorted((digits for digits in numbers if digits.isdigit()), key=int, reverse=True):
        if place.is_directory(os.path.join(root, f"version_{number}")):
            return int(number) + 1
    return 0
