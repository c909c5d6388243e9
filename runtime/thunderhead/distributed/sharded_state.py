"""State whose tensors are spread over ranks: made whole, cut again, and this rank's part of it.

::

    a DTensor  →  the whole tensor, on the host     whole       a file that anyone reads
    a DTensor  →  this rank's piece                 own_part    a checkpoint that as many ranks read back
    the whole, or a piece  →  a DTensor             placed      either, before a module or an optimizer takes it

A tensor of a module or of its optimizer's state lies as its parameter does; names are those without what
``torch.compile`` puts into them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from thunderhead.exceptions import MisconfigurationException

_COMPILED: Final = "_orig_mod."
# How a rank's piece is written down: plain data, so that every kind of checkpoint can hold it.
_PIECE: Final = "thunderhead.piece"


Tree = TypeVar("Tree")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Piece:
    """What one rank holds of a tensor.

    Attributes:
        local: its elements.
        shape: of the whole.
        placements: how it was cut, in words.
    """

    local: Tensor
    shape: tuple[int, ...]
    placements: str


def clean(name: str) -> str:
    """A name in a module without what ``torch.compile`` put into it."""
    return name.replace(_COMPILED, "")


def names_of(module: nn.Module) -> dict[int, str]:
    """The clean name of every parameter, by its identity."""
    return {id(parameter): clean(name) for name, parameter in module.named_parameters(remove_duplicate=False)}


def whole(tree: Tree, *, keep: bool) -> Tree:
    """The tree with every tensor whole and on the host: a collective, in the order of the tree, on all ranks.

    Args:
        tree: of dicts, lists and tuples.
        keep: this rank is to have them; the others take part and get empty ones.
    """

    def gathered(tensor: DTensor) -> Tensor:
        full: Tensor = tensor.full_tensor().detach()
        return full.to("cpu") if keep else torch.empty(0)

    return _mapped(tree, gathered)


def own_part(tree: Tree) -> Tree:
    """The tree with this rank's piece in the place of every tensor that is spread."""

    def piece(tensor: DTensor) -> dict[str, object]:
        local = tensor.to_local().detach()
        return {_PIECE: local, "shape": list(tensor.shape), "placements": str(tuple(tensor.placements))}

    return _mapped(tree, piece)


def from_own_part(tree: Any) -> Any:
    """What ``own_part`` made, with pieces in the place of how they were written down."""
    if isinstance(tree, dict):
        if _PIECE in tree:
            return Piece(tree[_PIECE], tuple(tree["shape"]), tree["placements"])
        return {key: from_own_part(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(from_own_part(value) for value in tree)
    return tree


def placed(value: Value, target: object, name: str) -> Value | DTensor:
    """A tensor as the target lies; what is no tensor, or has a target that is not spread, as it is.

    No collective: every rank cuts its own piece.

    Args:
        value: whole, a piece, or placed already.
        target: parameter or buffer whose place it takes, or which it belongs to.
        name: for messages.

    Raises:
        MisconfigurationException: a piece of a tensor that was cut in another way.
    """
    if isinstance(value, Piece):
        return _glued(value, target, name)
    if not isinstance(target, DTensor) or not isinstance(value, Tensor) or isinstance(value, DTensor):
        return value
    if value.shape != target.shape:
        return value
    moved = value.detach().to(target.to_local().device)
    return distribute_tensor(moved, target.device_mesh, target.placements, src_data_rank=None)


def _glued(piece: Piece, target: object, name: str) -> DTensor:
    now = str(tuple(target.placements)) if isinstance(target, DTensor) else "not at all"
    if not isinstance(target, DTensor) or now != piece.placements or tuple(target.shape) != piece.shape:
        of_now = list(getattr(target, "shape", ()))
        raise MisconfigurationException(
            f"the checkpoint holds this rank's piece of {name}, of shape {list(piece.shape)} cut by "
            f"{piece.placements}, but configure_model now makes it of shape {of_now} cut by {now}; shard as before, or "
            "begin anew"
        )
    local = piece.local.to(target.to_local().device)
    return DTensor.from_local(
        local, target.device_mesh, target.placements, run_check=False, shape=target.shape, stride=target.stride()
    )


def for_module(module: nn.Module, state: Mapping[str, Any]) -> dict[str, Any]:
    """``state`` under the names of the module's own ``state_dict``, cut as it is."""
    targets = module.state_dict()
    names = {clean(name): name for name in targets}
    renamed = {name if name in targets else names.get(clean(name), name): value for name, value in state.items()}
    return {name: placed(value, targets.get(name), name) for name, value in renamed.items()}


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """Its parameters, in the order of its state's numbers."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def by_name(module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's state by the names of parameters in the place of their numbers, as sharded files keep it."""
    names = names_of(module)
    numbered = [names.get(id(parameter), f"parameter {i}") for i, parameter in enumerate(parameters_of(optimizer))]
    groups = [{**group, "params": [numbered[i] for i in group["params"]]} for group in state["param_groups"]]
    return {"state": {numbered[i]: value for i, value in state["state"].items()}, "param_groups": groups}


def for_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    """A state of this optimizer's, cut as its parameters are."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    own = dict(zip(numbers, parameters_of(optimizer), strict=False))
    values = {
        number: {key: placed(value, own.get(number), f"the optimizer's {key}") for key, value in of.items()}
        for number, of in state["state"].items()
    }
    return {**state, "state": values}


def targets_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by clean name."""
    found = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return {clean(name): tensor.detach() for name, tensor in found}


def _mapped(tree: Tree, function: Callable[[DTensor], object]) -> Tree:
    mapped: Tree = _of_tree(tree, function)
    return mapped


def _of_tree(tree: Any, function: Callable[[DTensor], object]) -> Any:
    if isinstance(tree, DTensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: _of_tree(value, function) for key, value in tree.items()}
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return type(tree)(_of_tree(value, function) for value in tree)
    return tree
