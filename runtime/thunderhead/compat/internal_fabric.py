"""What codebases on Fabric reach for inside of it: weights read lazily, modules off the meta device, samplers."""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sized
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, DistributedSampler, Sampler

from thunderhead.compat.installed import _holds
from thunderhead.compat.internals import Known
from thunderhead.rng import seed_process
from thunderhead.tensors import batch_size_of, map_tensors
from thunderhead.warning import warn

# --- weights ---------------------------------------------------------------------------------------------------------


class _NotYetLoadedTensor:
    """No tensor is one: ``_lazy_load`` gives tensors that the system reads from the file when they are touched."""


def _lazy_load(filename: str | os.PathLike[str]) -> object:
    """What ``torch.save`` wrote, of which nothing is read before it is used."""
    if not os.path.isfile(filename):
        raise FileNotFoundError(f"{os.fspath(filename)!r} is no file; give the path of what torch.save wrote")
    return torch.load(filename, map_location="cpu", mmap=True, weights_only=True)


def _materialize_meta_tensors(module: nn.Module, device: torch.device) -> None:
    """Give each part that is on the meta device memory on ``device``, and let it fill that as it is made."""
    for name, part in module.named_modules():
        own = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
        if not any(tensor.is_meta for tensor in own):
            continue
        part.to_empty(device=device, recurse=False)
        reset = getattr(part, "reset_parameters", None)
        if not callable(reset):
            raise TypeError(f"{name or 'the module'} ({type(part).__name__}) on meta has no reset_parameters; add one")
        reset()


# --- data ------------------------------------------------------------------------------------------------------------


def convert_to_tensors(data: object, device: torch.device) -> object:
    """A collection whose numbers and arrays are tensors on ``device``."""
    if isinstance(data, dict):
        return {key: convert_to_tensors(value, device) for key, value in data.items()}
    if isinstance(data, list | tuple) and type(data) in (list, tuple):
        return type(data)(convert_to_tensors(value, device) for value in data)
    if isinstance(data, bool | int | float) or hasattr(data, "__array_interface__"):
        return torch.as_tensor(data, device=device).contiguous()
    return map_tensors(data, lambda tensor: tensor.to(device).contiguous())


def convert_tensors_to_scalars(data: object) -> object:
    """A collection whose tensors are numbers.

    Raises:
        ValueError: one has several elements.
    """

    def number(tensor: Tensor) -> object:
        if tensor.numel() != 1:
            raise ValueError(f"a tensor of {tensor.numel()} elements is no scalar; log its mean, or each element")
        return tensor.item()

    return map_tensors(data, number)


def extract_batch_size(batch: object) -> int:
    """The first dimension of the first tensor.

    Raises:
        RuntimeError: there is none.
    """
    size, ambiguous = batch_size_of(batch)
    if size is None:
        raise RuntimeError("the batch holds no tensor, so its size is not known; pass batch_size= to self.log")
    if ambiguous:
        warn(f"tensors of the batch differ in their first dimension; {size} is taken; pass batch_size= to self.log")
    return size


def has_len_all_ranks(dataloader: Sized, strategy: Known, allow_zero_length: bool = False) -> bool:
    """Whether the loader has a length on every rank.

    Raises:
        RuntimeError: it is 0 on this rank and not on all, and ``allow_zero_length`` is not set.
    """
    try:
        length: int | None = len(dataloader)
    except (TypeError, NotImplementedError):
        length = None
    if length is None:
        return False
    total = strategy.reduce(torch.tensor(length, device=strategy.root_device), reduce_op="sum")
    if int(total) and not length and not allow_zero_length:
        raise RuntimeError("the loader has no batches on this rank, but on others; give every rank as many")
    return True


class DistributedSamplerWrapper(DistributedSampler[Any]):
    """This rank's part of what another sampler draws, which must draw alike on every rank."""

    def __init__(self, sampler: Sampler[Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(_Drawn(sampler), *args, **kwargs)

    def __iter__(self) -> Iterator[Any]:
        drawn = list(self.dataset.sampler)  # type: ignore[attr-defined]  # ours, see above
        return (drawn[index] for index in super().__iter__())


class _Drawn(Dataset[Any]):
    def __init__(self, sampler: Sampler[Any]) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # or it raises

    def __getitem__(self, index: int) -> object:
        return index


def pl_worker_init_function(worker_id: int, rank: int | None = None) -> None:
    """Seed a loader process by what torch gave it, the number of the process and of the rank."""
    own = int(os.environ.get("RANK", 0)) if rank is None else rank
    base = torch.initial_seed() - worker_id
    # Mixed as torch mixes seeds of its own, so that neighbours have nothing to do with each other.
    state = (base & (2**64 - 1)) ^ (own << 32) ^ worker_id
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
    seed_process((state ^ (state >> 27)) % 2**63)


# --- places and tests ------------------------------------------------------------------------------------------------


def is_shared_filesystem(strategy: Known, path: str | os.PathLike[str] | None = None, timeout: int = 3) -> bool:
    """Whether what rank 0 writes below ``path`` is there for all; every rank must call it.

    Raises:
        FileNotFoundError: there is no such directory on some rank.
    """
    place = str(path or Path.cwd())
    if "://" in place or strategy.world_size == 1:
        return True
    there = strategy.reduce_boolean_decision(os.path.isdir(place), all=True)
    if not there:
        raise FileNotFoundError(f"{place!r} is not a directory on every rank; make it, or give another path")
    name = strategy.broadcast(f".shared-{uuid.uuid4().hex}", src=0)
    mark = Path(place) / name
    if strategy.is_global_zero:
        with tempfile.NamedTemporaryFile(dir=place, delete=False) as written:
            pass
        Path(written.name).rename(mark)
    strategy.barrier()
    found = bool(strategy.reduce_boolean_decision(mark.exists(), all=True))
    strategy.barrier()
    if strategy.is_global_zero:
        mark.unlink(missing_ok=True)
    return found


_LACKING: Final[dict[str, Callable[[Any], bool]]] = {
    "min_cuda_gpus": lambda least: torch.cuda.device_count() < least,
    "min_torch": lambda least: not _holds(torch.__version__, f">={least}"),
    "max_torch": lambda most: not _holds(torch.__version__, f"<{most}"),
    "min_python": lambda least: sys.version_info < tuple(map(int, str(least).split("."))),
    "bf16_cuda": lambda wanted: wanted and not (torch.cuda.is_available() and torch.cuda.is_bf16_supported()),
    "tpu": bool,
    "mps": lambda wanted: wanted is not None and wanted != torch.backends.mps.is_available(),
    "skip_windows": lambda wanted: wanted and sys.platform == "win32",
    "linux_only": lambda wanted: wanted and sys.platform != "linux",
    "deepspeed": bool,
    "dynamo": lambda wanted: wanted and not torch._dynamo.eval_frame.is_dynamo_supported(),
    "standalone": lambda wanted: wanted and os.environ.get("PL_RUN_STANDALONE_TESTS", "0") != "1",
}


def _runif_reasons(**wanted: object) -> tuple[list[str], dict[str, bool]]:
    """What a test asks of the machine that it has not, in words for pytest's skipif."""
    return [f"{name}={value}" for name, value in wanted.items() if value and _LACKING[name](value)], {}
