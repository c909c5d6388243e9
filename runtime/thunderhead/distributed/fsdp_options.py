"""What Lightning's arguments of FSDP mean for FSDP2; what has no meaning there is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from torch import nn

from thunderhead.exceptions import MisconfigurationException, UnknownArgument, did_you_mean

# Which layers are meant: asked as FSDP1 asks its policies.
Policy = Callable[..., bool]
_STRATEGIES: Final = {
    "FULL_SHARD": (False, True),
    "SHARD_GRAD_OP": (False, False),
    "HYBRID_SHARD": (True, True),
    "_HYBRID_SHARD_ZERO2": (True, False),
}
# What FSDP2 always does: the value by which it may be asked for.
_ALWAYS: Final = {"use_orig_params": True, "sync_module_states": True, "limit_all_gathers": True}
_REFUSED: Final = {
    "backward_prefetch": "FSDP2 reads ahead by itself",
    "forward_prefetch": "call set_modules_to_forward_prefetch of a sharded layer in configure_model",
    "ignored_modules": "shard what is meant in configure_model, under ModelParallelStrategy",
    "ignored_states": "shard what is meant in configure_model, under ModelParallelStrategy",
    "param_init_fn": "give the layers a reset_parameters, which is called for those on the meta device",
    "device_id": "pass devices to the Trainer",
    "module": "the Trainer passes it",
    "process_group": "pass process_group_backend, timeout or device_mesh",
}


def sharding(given: object) -> tuple[bool, bool]:
    """``(hybrid, whether parameters are let go after a layer's forward)``.

    Raises:
        MisconfigurationException: there is no such strategy, or none that shards.
    """
    name = str(getattr(given, "name", given))
    found = _STRATEGIES.get(name.upper() if not name.startswith("_") else name)
    if found is None:
        instead = " Use strategy='ddp'" if name.upper() == "NO_SHARD" else did_you_mean(name, _STRATEGIES)
        raise MisconfigurationException(
            f"FSDPStrategy(sharding_strategy={given!r}) is none of {', '.join(_STRATEGIES)}.{instead}"
        )
    return found


def check_keywords(given: Mapping[str, Any]) -> None:
    """Keywords of FSDP1.

    Raises:
        MisconfigurationException: FSDP2 has no counterpart.
        UnknownArgument: FSDP1 has no such keyword either.
    """
    for name, value in given.items():
        if name in _ALWAYS:
            if value is not _ALWAYS[name]:
                raise MisconfigurationException(
                    f"FSDPStrategy({name}={value!r}): FSDP2 knows only {_ALWAYS[name]}; leave it out"
                )
        elif name in _REFUSED:
            raise MisconfigurationException(f"FSDPStrategy({name}=...) belongs to FSDP1; {_REFUSED[name]}")
        else:
            raise UnknownArgument(f"FSDPStrategy has no argument {name!r}.{did_you_mean(name, _ALWAYS)}")


def read_policy(name: str, given: object) -> Policy | None:
    """A policy as FSDP1 takes it, or a set of classes of layers.

    Raises:
        MisconfigurationException: it is neither.
    """
    if given is None:
        return None
    classes = getattr(given, "_module_classes", given)  # torch's ModuleWrapPolicy
    if isinstance(classes, type):
        classes = {classes}
    if isinstance(classes, set | frozenset | list | tuple) and all(isinstance(kind, type) for kind in classes):
        return partial(_of_classes, tuple(classes))
    own = getattr(given, "_lambda_fn", given)  # torch's CustomPolicy, which says it of each layer alone
    if not callable(own):
        raise MisconfigurationException(
            f"FSDPStrategy({name}={given!r}) is neither a set of classes of layers nor a policy of "
            "torch.distributed.fsdp.wrap"
        )
    return partial(_asked_alone, own) if own is not given else own


def _of_classes(classes: tuple[type, ...], module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    return recurse or isinstance(module, classes)


def _asked_alone(function: Callable[[nn.Module], object], module: nn.Module, recurse: bool, **_: object) -> bool:
    return recurse or bool(function(module))


def layers_of(module: nn.Module, policy: Policy) -> list[nn.Module]:
    """The layers that a policy chooses, inner ones first, each once; not the module itself."""
    found: dict[int, nn.Module] = {}
    for child in module.children():
        _choose(child, policy, found)
    return list(found.values())


def _choose(module: nn.Module, policy: Policy, found: dict[int, nn.Module]) -> int:
    """Elements of ``module`` that are in a chosen layer."""
    if id(module) in found:
        return _elements(module)
    whole, chosen = _elements(module), 0
    if policy(module=module, recurse=True, nonwrapped_numel=whole):
        chosen = sum(_choose(child, policy, found) for child in module.children())
    if chosen < whole and policy(module=module, recurse=False, nonwrapped_numel=whole - chosen):
        found[id(module)] = module
        return whole
    return chosen


def _elements(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def children_with_parameters(module: nn.Module) -> Iterator[nn.Module]:
    """The layers right below ``module`` that have something to shard."""
    return (child for child in module.children() if any(True for _ in child.parameters()))
