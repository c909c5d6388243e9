"""Metric objects of a module, and where in it they are: what a resumed run finds them again by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, Protocol, TypeGuard

import torch

from thunderhead.exceptions import MisconfigurationException


class Metric(Protocol):
    """A ``torchmetrics.Metric``, as far as it is used."""

    _defaults: Mapping[str, object]
    _forward_cache: torch.Tensor | None
    _update_count: int

    @property
    def device(self) -> torch.device:
        """Where its states are."""

    def compute(self) -> object:
        """Its value, from the states."""

    def reset(self) -> None:
        """Forget everything."""

    def modules(self) -> Iterator[Any]:
        """Itself, and those it is made of."""


def is_metric(value: object) -> TypeGuard[Metric]:
    """Whether ``value`` is a ``torchmetrics.Metric``, told by what we use of it so that we need not import it."""
    return isinstance(value, torch.nn.Module) and hasattr(value, "_forward_cache") and hasattr(value, "compute")


class MetricsOf(dict[str, Metric]):
    """The metrics of a module by path: every path, for one that several parts share has several."""

    def __init__(self, module: torch.nn.Module) -> None:
        found = module.named_modules(remove_duplicate=False)
        super().__init__((path, child) for path, child in found if is_metric(child))
        self._owner = type(module).__name__

    def path_of(self, metric: object) -> str | None:
        """The first path of this very metric; None where it has none."""
        return next((path for path, child in self.items() if child is metric), None)

    def __missing__(self, path: str) -> NoReturn:
        raise MisconfigurationException(
            f"the checkpoint holds the state of the metric {path!r}, and {self._owner} has no metric of that name; "
            "give it that name back, or begin anew from the weights with load_from_checkpoint"
        )
