"""A callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thunderhead.exceptions import MisconfigurationException, did_you_mean
from thunderhead.user.callback import Callback


class LambdaCallback(Callback):
    """A callback whose hooks are the functions passed by name: ``LambdaCallback(on_fit_start=print)``.

    Args:
        **hooks: functions by the name of the hook, with its arguments but for self; None for nothing.

    Raises:
        MisconfigurationException: there is no hook of that name, or that is no function.
    """

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        known = [name for name, hook in vars(Callback).items() if not name.startswith("_") and callable(hook)]
        for name, function in hooks.items():
            if name not in known:
                raise MisconfigurationException(f"LambdaCallback has no hook {name!r}.{did_you_mean(name, known)}")
            if function is None:
                continue
            if not callable(function):
                raise MisconfigurationException(
                    f"LambdaCallback: {name}={function!r} must be a function of the hook's arguments, or None"
                )
            setattr(self, name, function)
