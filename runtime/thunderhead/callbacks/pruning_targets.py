"""Which parameters of a module are pruned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from torch import nn

from thunderhead.exceptions import MisconfigurationException
from thunderhead.user.module import LightningModule

Target = tuple[nn.Module, str]
_CONTAINERS: Final = (LightningModule, nn.Sequential, nn.ModuleList, nn.ModuleDict)


def sanitized(owner: str, module: nn.Module, wanted: Any, names: Sequence[str]) -> list[Target]:
    """The given pairs, or all parameters of these names.

    Raises:
        MisconfigurationException: they are no pairs, or not in the module.
    """
    children = [child for child in module.modules() if not isinstance(child, _CONTAINERS)]
    if not wanted:
        return [
            (child, name)
            for name in names
            for child in children
            if isinstance(getattr(child, name, None), nn.Parameter)
        ]
    if not isinstance(wanted, (list, tuple)) or not all(map(_is_pair, wanted)):
        raise MisconfigurationException(
            f"{owner}: parameters_to_prune={wanted!r} must be a list of pairs of a module and the name of its parameter"
        )
    for child, name in wanted:
        if not any(child is known for known in children):
            raise MisconfigurationException(
                f"{owner}: parameters_to_prune names {type(child).__name__}, which is no part of "
                f"{type(module).__name__}; take its parts from the module that is trained"
            )
        if not hasattr(child, name):
            raise MisconfigurationException(
                f"{owner}: parameters_to_prune names {name!r} of {type(child).__name__}, which has only "
                f"{', '.join(key for key, _ in child.named_parameters(recurse=False)) or 'no parameter'}"
            )
    return list(wanted)


def module_paths(module: nn.Module) -> dict[nn.Module, str]:
    """Where each module is, as in names of parameters."""
    return {child: path for path, child in module.named_modules()}


def _is_pair(pair: object) -> bool:
    return (
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and isinstance(pair[0], nn.Module)
        and isinstance(pair[1], str)
    )
