"""Whether somebody's object has a hook of its own.

==================================================  ===================  ==============
what stands under the hook's name                   ``is_overridden``    ``is_called``
==================================================  ===================  ==============
a method of the class, a function on the instance   yes                  yes
None on the instance                                no                   no
the base's own, of the class or bound               no                   no
a ``partial`` or decorated copy of the base's own   no                   yes
a mock that wraps the base's own, or nothing        no                   yes
==================================================  ===================  ==============

The first decides on what a run does: whether there is a step, who gives loaders. The second is about hooks that are
called for what they do besides, as somebody who looks on may have put one there.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, Final

# A class whose hooks do nothing until they are overridden says so by an attribute of this name, set in its own body.
MARK: Final = "_declares_hooks"


def is_overridden(name: str, instance: object, base: type | None = None) -> bool:
    """Whether ``instance`` (or its class) has a hook ``name`` of its own, rather than that of ``base``.

    What counts is the code behind it: None is no hook, and the base's own method is none wherever it was put;
    ``functools.partial``, ``functools.wraps`` and mocks that wrap something are looked through, as in Lightning.
    """
    if instance is None:
        return False
    own = _behind(getattr(instance, name, None))
    return own is not None and own is not _behind(getattr(base or base_of(type(instance)), name, None))


def is_called(name: str, instance: object) -> bool:
    """Whether a call of ``instance``'s hook ``name`` reaches anybody but the base."""
    own = getattr(instance, name, None)
    if own is None:
        return False
    return getattr(own, "__func__", own) is not getattr(base_of(type(instance)), name, None)


def call_hook(instance: object, name: str, *args: object) -> Any:
    """What the hook returns; one that was set to None is none."""
    hook = getattr(instance, name)
    return None if hook is None else hook(*args)


def base_of(kind: type) -> type:
    """The class of ours that ``kind`` derives from; ``object`` where it derives from none."""
    return next((cls for cls in kind.__mro__ if MARK in vars(cls)), object)


def _behind(function: Any) -> object:
    """The code that runs when it is called; the object itself where that cannot be told, None where nothing runs."""
    mocks = sys.modules.get("unittest.mock")
    while True:
        if isinstance(function, partial):
            function = function.func
        elif mocks is not None and isinstance(function, mocks.NonCallableMock):
            function = function._mock_wraps
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return getattr(function, "__code__", function)
