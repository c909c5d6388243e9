"""What ``Fabric.save`` writes of modules, optimizers and whatever else, and how ``Fabric.load`` puts it back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from thunderhead.distributed.base import Strategy
from thunderhead.distributed.model_parallel import ModelParallelStrategy, room_like
from thunderhead.exceptions import MisconfigurationException
from thunderhead.fabric.wrappers import unwrapped
from thunderhead.files import file, sharded
from thunderhead.files.checkpoint_io import TorchCheckpointIO
from thunderhead.files.places import is_url

Path = str | os.PathLike[str]
Filter = Mapping[str, Callable[[str, Any], bool]]


def check_filter(filters: object, state: Mapping[str, Any]) -> Filter:
    """What ``Fabric.save(filter=...)`` may be.

    Raises:
        TypeError: no dict of functions.
        ValueError: of what is not saved.
    """
    if filters is None:
        return {}
    if not isinstance(filters, dict):
        raise TypeError(f"Fabric.save(filter={filters!r}) is no dict of functions by key of the state")
    for key, function in filters.items():
        if key not in state:
            raise ValueError(f"Fabric.save(filter=...) has {key!r}, which is no key of the state: {', '.join(state)}")
        if not callable(function):
            raise TypeError(f"Fabric.save(filter=...): {key!r} is {function!r}; pass a function of name and value")
    return filters


def write(strategy: Strategy, path: Path, state: Mapping[str, Any], filters: Filter) -> None:
    """Write a file on rank 0, or a directory on all ranks where the strategy does so."""
    objects: dict[str, Any] = {key: unwrapped(value) for key, value in state.items()}
    tensors = {key: _state_of(strategy, value) for key, value in objects.items() if _holds_tensors(value)}
    rest = {key: _plain(value) for key, value in objects.items() if key not in tensors}
    together = isinstance(strategy, ModelParallelStrategy) and strategy.saves_together
    if isinstance(strategy, ModelParallelStrategy) and together:
        from thunderhead.distributed.sharded_state import by_name

        module = _module_in(objects)
        named = {
            key: by_name(module, objects[key], of) if isinstance(objects[key], Optimizer) else of
            for key, of in tensors.items()
        }
        strategy.write_together(_filtered(named, filters), _filtered(rest, filters), path, None)
        return
    strategy.gather_state(tensors, tuple(tensors))
    content = {key: tensors.get(key, rest.get(key)) for key in objects}
    strategy.on_first(lambda: strategy.save_checkpoint(_filtered(content, filters), path), os.fspath(path))


def read(
    strategy: Strategy, path: Path, state: MutableMapping[str, Any] | None, *, strict: bool, weights_only: bool | None
) -> dict[str, Any]:
    """Put what was written back into ``state``; what is left over is returned.

    Raises:
        KeyError: ``strict``, and the file lacks what ``state`` asks for.
    """
    objects = {} if state is None else {key: unwrapped(value) for key, value in state.items()}
    content = _content(strategy, os.fspath(path), objects, weights_only)
    if state is None:
        return content
    lacking = [key for key in state if key not in content]
    if lacking and strict:
        raise KeyError(
            f"Fabric.load({os.fspath(path)!r}): the checkpoint has no {', '.join(map(repr, lacking))}, which state "
            f"asks for; it holds {', '.join(map(repr, content))}. Leave them out, or pass strict=False"
        )
    for key, value in objects.items():
        if key not in content:
            continue
        saved = content.pop(key)
        if not put_back(strategy, value, saved, strict=strict):
            state[key] = saved
    return content


def put_back(strategy: Strategy, value: object, saved: dict[str, Any], *, strict: bool) -> bool:
    """Give an object its state; False where it takes none."""
    if isinstance(value, nn.Module):
        strategy.load_module_state(value, saved, strict=strict)
    elif isinstance(value, Optimizer):
        strategy.load_optimizer_state(value, saved)
    else:
        load = getattr(value, "load_state_dict", None)
        if not callable(load):
            return False
        load(saved)
    return True


def _content(strategy: Strategy, path: str, objects: Mapping[str, Any], weights_only: bool | None) -> dict[str, Any]:
    if is_url(path) or not sharded.is_sharded(path):
        return read_file(strategy, path, weights_only)
    safe = weights_only is None or weights_only
    modules = [value for value in objects.values() if isinstance(value, nn.Module)]
    make = room_like(modules[0]) if strategy.spreads and len(modules) == 1 else None
    tree = sharded.read_tensors(path, safe=safe, make=make)
    found = {key: sharded.numbered(of) if _is_optimizer(of) else of for key, of in tree.items()}
    return {**file.read_meta(path, safe=safe), **found}


def read_file(strategy: Strategy, path: Path, weights_only: bool | None) -> dict[str, Any]:
    """What lies there, as it is; a CheckpointIO of the user's has its say."""
    if type(strategy.checkpoint_io) is TorchCheckpointIO:
        return file.read_any(os.fspath(path), weights_only=weights_only)
    return strategy.load_checkpoint(path, weights_only=weights_only)


def _is_optimizer(tree: object) -> bool:
    return isinstance(tree, dict) and "param_groups" in tree


def _module_in(objects: Mapping[str, Any]) -> nn.Module:
    modules = [value for value in objects.values() if isinstance(value, nn.Module)]
    if len(modules) != 1:
        raise MisconfigurationException(
            f"Fabric.save got {len(modules)} modules, and a directory that ranks write together names the parameters "
            "of one; save each by itself, with its optimizers"
        )
    return modules[0]


def _holds_tensors(value: object) -> bool:
    return isinstance(value, nn.Module | Optimizer)


def _state_of(strategy: Strategy, value: nn.Module | Optimizer) -> dict[str, Any]:
    return strategy.module_state(value) if isinstance(value, nn.Module) else strategy.optimizer_state(value)


def _plain(value: object) -> object:
    state, load = getattr(value, "state_dict", None), getattr(value, "load_state_dict", None)
    return state() if callable(state) and callable(load) else value


def _filtered(content: Mapping[str, Any], filters: Filter) -> dict[str, Any]:
    made = dict(content)
    for key, keeps in filters.items():
        if key in made:
            made[key] = {name: value for name, value in made[key].items() if keeps(name, value)}
    return made
