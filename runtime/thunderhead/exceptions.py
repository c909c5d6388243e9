"""What a user did wrong, said in a way that can be acted upon.

ValueError
└── MisconfigurationException   an argument, hook or combination that cannot work; never retried (exit 78 in a job)
    ├── UnknownArgument         a name that nobody knows; also a TypeError, as Python has it
    ├── NoSuchField             an attribute that a search is to set; also an AttributeError
    ├── WrongType               an argument that is left out, or of a type that cannot be; also a TypeError
    └── MetricNotLogged         a callback watches what nobody logs; also a RuntimeError, as Lightning has it
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MisconfigurationException(ValueError):
    """An argument, a hook or a combination of both that can never work as written."""


class UnknownArgument(MisconfigurationException, TypeError):
    """An argument or name that does not exist."""


class NoSuchField(MisconfigurationException, AttributeError):
    """Neither module nor datamodule nor hyperparameters have what is to be read or set."""


class WrongType(MisconfigurationException, TypeError):
    """An argument that is left out where it is needed, or of a type that can never be meant."""


class MetricNotLogged(MisconfigurationException, RuntimeError):
    """A callback watches a metric that was not logged."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence fragment naming the closest known spelling, or nothing when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def refuse_class(given: object, where: str) -> None:
    """A class is no instance of itself, though nothing would notice before its first method is called.

    Raises:
        MisconfigurationException: ``given`` is a class.
    """
    if isinstance(given, type):
        name = given.__qualname__.rpartition(".")[2]
        raise MisconfigurationException(f"{where} got the class {name}; pass an instance: {name}()")
