"""What a module needs that its ``configure_model`` has spread over ranks, beside the sharding itself."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from thunderhead.exceptions import MisconfigurationException
from thunderhead.results.metric_objects import is_metric

if TYPE_CHECKING:
    from torch.distributed.fsdp._fully_shard._fsdp_param import FSDPParam


def materialise(module: nn.Module, device: torch.device) -> None:
    """Give parameters and buffers on the meta device memory, and the values that ``reset_parameters`` makes.

    Raises:
        MisconfigurationException: a layer has some and no such method.
    """
    bare = [layer for layer in module.modules() if any(tensor.is_meta for tensor in _own_tensors(layer))]
    lacking = sorted({type(layer).__name__ for layer in bare if not hasattr(layer, "reset_parameters")})
    if lacking:
        raise MisconfigurationException(
            f"{', '.join(lacking)} of {type(module).__name__} was made on the meta device and has no reset_parameters, "
            "which says what its values are; write one, or make it on a device"
        )
    for layer in bare:
        layer.to_empty(device=device, recurse=False)
    for layer in bare:
        with torch.no_grad():
            layer.reset_parameters()  # type: ignore[operator]  # asked for above


def _own_tensors(layer: nn.Module) -> Iterator[Tensor]:
    return itertools.chain(layer.parameters(recurse=False), layer.buffers(recurse=False))


def refuse_drifting(module: nn.Module, replicas: Sequence[int], world_size: int) -> None:
    """Refuse parameters whose gradients nobody would average: copies of them would part from each other.

    Args:
        module: as ``configure_model`` left it.
        replicas: ranks that train on different data.
        world_size: all ranks.

    Raises:
        MisconfigurationException: there is one.
    """
    name = type(module).__name__
    for layer in module.modules():
        if type(layer).__name__ == "FullyShardedDataParallel":
            raise MisconfigurationException(
                f"{name} holds FullyShardedDataParallel, which is FSDP1; use torch.distributed.fsdp.fully_shard in "
                "configure_model"
            )
    trained = [(key, parameter) for key, parameter in module.named_parameters() if parameter.requires_grad]
    if world_size > 1 and trained and not any(isinstance(parameter, DTensor) for _, parameter in trained):
        raise MisconfigurationException(
            f"{name} is not sharded over its {world_size} ranks; in configure_model call "
            "torch.distributed.fsdp.fully_shard(self, mesh=self.device_mesh['data_parallel']) or parallelize_module, "
            "or use strategy='ddp'"
        )
    alone = [key for key, parameter in trained if len(replicas) > 1 and not _covers(parameter, replicas)]
    if alone:
        more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
        raise MisconfigurationException(
            f"{', '.join(alone[:3])}{more} of {name} belong to no sharded layer, so nobody would average their "
            f"gradients over {len(replicas)} data-parallel ranks; end configure_model with fully_shard(self, "
            "mesh=self.device_mesh['data_parallel']), which takes what is left"
        )


def _covers(parameter: Tensor, replicas: Sequence[int]) -> bool:
    return isinstance(parameter, DTensor) and set(replicas) <= set(parameter.device_mesh.mesh.flatten().tolist())


def share_rest(module: nn.Module) -> None:
    """Give all ranks rank 0's parameters and buffers, as far as they are not spread."""
    with torch.no_grad():
        for tensor in itertools.chain(module.parameters(), module.buffers()):
            if not isinstance(tensor, DTensor) and tensor.numel():
                dist.broadcast(tensor, 0)


def shards_of(module: nn.Module) -> list[FSDPModule]:
    """The layers that FSDP2 shards."""
    return [layer for layer in module.modules() if isinstance(layer, FSDPModule)]


def call_steps_through_shards(module: nn.Module, names: Iterable[str]) -> None:
    """Where the module itself is sharded, let its steps gather its parameters as its ``forward`` does.

    Not those of manual optimisation: a backward inside of a step would find none of what follows the step.
    """
    if not isinstance(module, FSDPModule) or not getattr(module, "automatic_optimization", True):
        return
    for name in names:
        step = getattr(module, name, None)
        if step is None or getattr(step, "gathers", False):
            continue  # a network that has no steps, or done by an earlier run
        signature = inspect.signature(getattr(module, name))
        register_fsdp_forward_method(module, name)
        made = getattr(module, name).__func__
        first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        rest = [p.replace(kind=p.POSITIONAL_OR_KEYWORD) if p.kind is p.POSITIONAL_ONLY else p for p in _of(signature)]
        made.__signature__ = signature.replace(parameters=[first, *rest])
        del made.__wrapped__
        made.gathers = True


def _of(signature: inspect.Signature) -> list[inspect.Parameter]:
    return list(signature.parameters.values())


def lend_group(module: nn.Module, group: dist.ProcessGroup) -> list[Any]:
    """Let metrics that name no ranks reduce over ``group``: other ranks count the same samples. Which were lent it."""
    lent: list[Any] = [layer for layer in module.modules() if is_metric(layer)]
    lent = [metric for metric in lent if getattr(metric, "process_group", group) is None]
    for metric in lent:
        metric.process_group = group
    return lent


def unreduced_gradients(module: nn.Module) -> dict[str, Tensor]:
    """This rank's gradients that FSDP2 has not reduced yet, as inside of an accumulation window; whole."""
    return {name: gradient for name, held in _held(module) if (gradient := _gradient(held)) is not None}


def load_unreduced_gradients(module: nn.Module, gradients: Mapping[str, Any]) -> set[str]:
    """Take back those of ``gradients`` that are whole ones of sharded parameters; their names."""
    taken = set()
    for name, held in _held(module):
        gradient = gradients.get(name)
        # Whole as far as FSDP2 cuts: where a layer is cut by tensor parallelism too, this rank's part of that.
        if isinstance(gradient, Tensor) and gradient.shape == held._orig_size:
            held.unsharded_accumulated_grad = _unsharded(held, gradient.to(held.sharded_param.device, copy=True))
            taken.add(name)
    return taken


def _unsharded(held: FSDPParam, gradient: Tensor) -> Tensor:
    spec = held._unsharded_dtensor_spec if held.is_dtensor else None
    if spec is None:
        return gradient
    whole: Tensor = DTensor.from_local(
        gradient, spec.mesh, spec.placements, run_check=False, shape=spec.shape, stride=spec.stride
    )
    return whole


def _gradient(held: FSDPParam) -> Tensor | None:
    found = held.unsharded_accumulated_grad
    if found is None and hasattr(held, "_unsharded_param"):
        found = held._unsharded_param.grad
    gradient: Tensor | None = None if found is None else found.detach()
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient


def _held(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What FSDP2 keeps of each parameter, with its name."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for shard in shards_of(module):
        for group in shard._get_fsdp_state()._fsdp_param_groups:
            for held in group.fsdp_params:
                if id(held.sharded_param) in names:
                    yield names[id(held.sharded_param)], held
