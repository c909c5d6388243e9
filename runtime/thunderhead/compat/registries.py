"""Names for strategies and accelerators, as packages register their own: ``Trainer(strategy="theirs")`` then finds it.

The Trainer asks these only where they have been imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thunderhead.exceptions import MisconfigurationException, did_you_mean


class Registry(dict[str, dict[str, Any]]):
    """Factories by name.

    Args:
        what: a strategy or an accelerator, in messages.
        built_in: names that the Trainer knows by itself.
    """

    def __init__(self, what: str, built_in: tuple[str, ...]) -> None:
        super().__init__()
        self._what, self._built_in = what, built_in

    def register(
        self,
        name: str,
        factory: Callable[..., Any] | None = None,
        description: str = "",
        override: bool = False,
        **init_params: object,
    ) -> Callable[..., Any]:
        """Let ``name`` mean what ``factory(**init_params)`` makes; without one, a decorator of it.

        Raises:
            MisconfigurationException: the name is taken, and ``override`` is not set.
        """
        if name in self and not override:
            raise MisconfigurationException(f"a {self._what} {name!r} is registered already; pass override=True")

        def put(made: Callable[..., Any]) -> Callable[..., Any]:
            self[name] = {"description": description, "init_params": init_params, self._what: made}
            return made

        return put if factory is None else put(factory)

    def get(self, name: str, default: object = None) -> Any:
        """A new object of this name.

        Raises:
            KeyError: nobody registered one, and there is no ``default``.
        """
        if name in self:
            return self[name][self._what](**self[name]["init_params"])
        if default is not None:
            return default
        raise KeyError(f"no {self._what} {name!r} was registered.{did_you_mean(name, self)} There are {sorted(self)}")

    def remove(self, name: str) -> None:
        """Forget a name."""
        del self[name]

    def names(self) -> list[str]:
        """All that can be passed to the Trainer."""
        return sorted({*self, *self._built_in})

    available_strategies = available_accelerators = names


StrategyRegistry = Registry(
    "strategy",
    (
        "ddp",
        "ddp_find_unused_parameters_false",
        "ddp_find_unused_parameters_true",
        "ddp_fork",
        "ddp_notebook",
        "ddp_spawn",
        "single_device",
    ),
)
AcceleratorRegistry = Registry("accelerator", ("cpu", "cuda", "mps", "tpu"))
