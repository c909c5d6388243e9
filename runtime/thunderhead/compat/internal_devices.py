"""What libraries reach for inside of Lightning around devices, memory, seeds and parameters."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from thunderhead.compat.internals import _DEVICE
from thunderhead.compat.rank_zero import rank_of
from thunderhead.rng import seed_everything
from thunderhead.tensors import map_tensors, move_to_device


def is_oom_error(exception: BaseException) -> bool:
    """Whether memory ran out, the device's or the host's."""
    if isinstance(exception, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(exception)
    signs = ("out of memory", "CUDNN_STATUS_NOT_SUPPORTED", "DefaultCPUAllocator: can't allocate memory")
    return isinstance(exception, RuntimeError) and any(sign in said for sign in signs)


def garbage_collection_cuda() -> None:
    """Collect garbage, and give the device's unused memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def recursive_detach(in_dict: object, to_cpu: bool = False) -> object:
    """A copy of a collection whose tensors are outside of any graph."""
    return map_tensors(in_dict, lambda tensor: tensor.detach().cpu() if to_cpu else tensor.detach())


def reset_seed() -> None:
    """Seed again as the last ``seed_everything`` did; nothing where there was none."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    if seed is not None:
        seed_everything(int(seed), workers=os.environ.get("PL_SEED_WORKERS", "0") == "1", verbose=False)


def num_cuda_devices() -> int:
    """CUDA devices here."""
    return torch.cuda.device_count()


def is_cuda_available() -> bool:
    """Whether there are any."""
    return torch.cuda.is_available()


def _optimizer_to_device(optimizer: Optimizer, device: _DEVICE) -> None:
    for parameter, state in optimizer.state.items():
        optimizer.state[parameter] = move_to_device(state, torch.device(device))


def _optimizers_to_device(optimizers: Iterable[Optimizer], device: _DEVICE) -> None:
    for optimizer in optimizers:
        _optimizer_to_device(optimizer, device)


def _distributed_is_initialized() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _get_rank() -> int | None:
    return rank_of(os.environ)


def find_shared_parameters(module: nn.Module) -> list[list[str]]:
    """Names of parameters that are one and the same tensor, by tensor."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    return [found for found in names.values() if len(found) > 1]


def set_shared_parameters(module: nn.Module, shared_params: list[list[str]]) -> nn.Module:
    """Let each list of names be one tensor again: its first."""
    for first, *others in shared_params:
        tensor = module.get_parameter(first)
        for name in others:
            owner, _, last = name.rpartition(".")
            setattr(module.get_submodule(owner), last, tensor)
    return module


def convert_inf(x: float | None) -> float | None:
    """None for what tqdm cannot count to."""
    return None if x is None or x != x or x in (float("inf"), float("-inf")) else x
