"""A device that torch has never heard of: tensors of the host's memory that say they are elsewhere.

``install`` makes it torch's accelerator for the rest of the process, so that it is for processes of a test's own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

READS: list[str] = []
"""Operations that read a value on the host, in order."""


class Held(torch.Tensor):
    """A tensor of the device."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> Held:
        made: Held = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, raw.size(), strides=raw.stride(), dtype=raw.dtype, device=torch.device(DEVICE, Module.current)
        )
        made.raw = raw
        return made

    def __repr__(self, *_: Any, **__: Any) -> str:
        return f"Held({self.raw})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.raw.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


DEVICE = "gizmo"


class Module:
    """``torch.gizmo``, with a generator of the device's own."""

    count = 2
    current = 0
    initialised = False
    generator = torch.Generator()

    @classmethod
    def device_count(cls) -> int:
        return cls.count

    @classmethod
    def is_available(cls) -> bool:
        return cls.count > 0

    @classmethod
    def is_initialized(cls) -> bool:
        return cls.initialised

    @classmethod
    def current_device(cls) -> int:
        return cls.current

    @classmethod
    def set_device(cls, device: Any) -> None:
        cls.current, cls.initialised = torch.device(device).index or 0, True

    @classmethod
    def _is_in_bad_fork(cls) -> bool:
        return False

    @classmethod
    def manual_seed_all(cls, seed: int) -> None:
        cls.generator.manual_seed(seed)

    @classmethod
    def get_rng_state(cls) -> torch.Tensor:
        return cls.generator.get_state()

    @classmethod
    def set_rng_state(cls, state: torch.Tensor) -> None:
        cls.generator.set_state(state)

    @classmethod
    def synchronize(cls) -> None: ...

    @classmethod
    def get_amp_supported_dtype(cls) -> list[torch.dtype]:
        return [torch.bfloat16]


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation, on the host's memory; what it makes is on the device unless it is told otherwise."""
    name = func.name()
    to = kwargs.get("device")
    stays = to is not None and torch.device(to).type == "cpu"
    if name in ("aten::_local_scalar_dense", "aten::item") or (stays and name == "aten::_to_copy"):
        READS.append(name)
    if to is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    given = {id(held.raw): held for held in pytree.tree_leaves((args, kwargs)) if isinstance(held, Held)}
    plain = pytree.tree_map_only(Held, lambda held: held.raw, (args, kwargs))
    made = func(*plain[0], **plain[1])
    if stays:
        return made
    return pytree.tree_map_only(torch.Tensor, lambda raw: given[id(raw)] if id(raw) in given else Held(raw), made)


def install(name: str = "gizmo", *, group: str | None = "gizmo_dist") -> None:
    """Let torch have it, and a back end of process groups for it."""
    global DEVICE
    DEVICE = name
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    _setup_privateuseone_for_python_backend(name, backend_module=Module)
    library = torch.library.Library("aten", "IMPL")
    for op in ("empty.memory_format", "empty_strided", "_to_copy", "_copy_from", "_copy_from_and_resize"):
        overload = getattr(getattr(torch.ops.aten, op.partition(".")[0]), op.partition(".")[2] or "default")

        def implemented(*args: Any, overload: Any = overload, **kwargs: Any) -> Any:
            return run(overload, args, kwargs)

        library.impl(op, implemented, "PrivateUse1")
    install.library = library  # type: ignore[attr-defined]
    if group is not None:

        def made(store: Any, rank: int, size: int, timeout: Any) -> Any:
            return dist.ProcessGroupGloo(store, rank, size, timeout)

        dist.Backend.register_backend(group, made, devices=[name])
