"""How a module is spread over processes: on one device, or a copy per rank with averaged gradients (DDP)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore

from thunderhead.data.transfer import map_tensors
from thunderhead.distributed.environment import Place
from thunderhead.distributed.launch import ScriptLauncher

if TYPE_CHECKING:
    from thunderhead.core.module import LightningModule


_waits = itertools.count()


class Strategy:
    """One process, one device; also the interface of all strategies.

    Args:
        device: where the module and its batches go; the Trainer's choice by default.
        place: this process among all; the environment says it by default.

    Attributes:
        model: what runs the training step: the module, or its wrapper.
        launcher: starts the other processes of this node, where nobody else did.
    """

    name = "single_device"

    def __init__(self, device: torch.device | str | None = None, place: Place | None = None) -> None:
        self._device = None if device is None else torch.device(device)
        self._place = place
        self.model: nn.Module | None = None
        self.launcher: ScriptLauncher | None = None

    def bind(self, device: torch.device, place: Place) -> None:
        """Take the trainer's device and place, unless they were given."""
        self._device = device if self._device is None else self._device
        self._place = place if self._place is None else self._place

    @property
    def root_device(self) -> torch.device:
        """Where the module and its batches go."""
        assert self._device is not None, "a strategy gets its device from the Trainer it is passed to"
        return self._device

    @property
    def place(self) -> Place:
        """This process among all."""
        return self._place or Place()

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return 1

    @property
    def global_rank(self) -> int:
        """Rank of this process among all."""
        return 0

    @property
    def local_rank(self) -> int:
        """Rank of this process on its node."""
        return 0

    @property
    def node_rank(self) -> int:
        """Which node this is."""
        return 0

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0."""
        return self.global_rank == 0

    def setup_environment(self) -> None:
        """Meet the other processes."""
        if self.root_device.type == "cuda":
            torch.cuda.set_device(self.root_device)

    def wrap(self, module: LightningModule) -> None:
        """Make the module ready for training steps; it is on its device already."""
        self.model = module

    def training_step(self, module: LightningModule) -> Callable[..., Any]:
        """What to call with the arguments of ``training_step``."""
        return module.training_step

    def no_sync(self) -> AbstractContextManager[Any]:
        """Backward passes inside keep their gradients to this rank."""
        return nullcontext()

    def before_manual_backward(self, loss: Tensor) -> None:
        """Called before each backward of manual optimisation."""

    def barrier(self, name: str | None = None) -> None:
        """Wait for all ranks."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """The object that rank ``src`` has."""
        return obj

    def reduce(self, tensor: Any, group: Any = None, reduce_op: str = "mean") -> Any:
        """Mean, sum, min or max of ``tensor`` over all ranks."""
        return tensor

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """One answer for all ranks: true if all (or any) of them say so."""
        return decision

    def all_of(self, decision: bool) -> bool:
        """True if all ranks say so, told over the host: nothing waits for a device."""
        return decision

    def wait_for_one(self, name: str, chosen: bool) -> None:
        """Wait, however long, until the chosen rank of this node (or of all) has come here."""

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """Every tensor of ``data`` with all ranks' values along a new first dimension."""
        return data

    def gather_objects(self, obj: Any) -> list[Any]:
        """What each rank has, in order of rank."""
        return [obj]

    def sync_buffers(self, module: nn.Module) -> None:
        """Give all ranks the buffers of rank 0, if that is what training does."""

    def local_buffers(self, module: nn.Module) -> dict[str, Tensor]:
        """Buffers that differ between ranks and must be saved by each."""
        return {}

    def teardown(self) -> None:
        """Leave everything as it was found."""
        self.model = None


class SingleDeviceStrategy(Strategy):
    """One process on one device, such as ``"cuda:1"``."""


class DataParallelStep(nn.parallel.DistributedDataParallel):
    """DDP around a module's ``training_step`` in place of its ``forward``."""

    def _run_ddp_forward(self, *inputs: Any, **kwargs: Any) -> Any:
        with self._inside_ddp_forward():
            return self.module.training_step(*inputs, **kwargs)


class DDPStrategy(Strategy):
    """A copy of the module per rank, gradients averaged during backward.

    Args:
        device: by default the Trainer's.
        place: by default the Trainer's.
        process_group_backend: nccl, gloo, ...; by default what fits the device.
        timeout: how long a collective may take.
        **kwargs: passed to ``torch.nn.parallel.DistributedDataParallel``.
    """

    name = "ddp"

    def __init__(
        self,
        device: torch.device | str | None = None,
        place: Place | None = None,
        *,
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(minutes=30),
        **kwargs: Any,
    ) -> None:
        super().__init__(device, place)
        self._backend = process_group_backend
        self._timeout = timeout
        self._ddp_options = kwargs
        self._gloo: Any = None

    @property
    def world_size(self) -> int:
        return self.place.world_size

    @property
    def global_rank(self) -> int:
        return self.place.rank

    @property
    def local_rank(self) -> int:
        return self.place.local_rank

    @property
    def node_rank(self) -> int:
        return self.place.node_rank

    def setup_environment(self) -> None:
        if self.launcher is not None:
            self.launcher.launch()
        super().setup_environment()
        if dist.is_initialized():
            return
        backend = self._backend or ("nccl" if self.root_device.type == "cuda" else "gloo")
        # Alone, there is nobody to meet.
        store = HashStore() if self.world_size == 1 else None
        dist.init_process_group(
            backend, store=store, rank=self.place.rank, world_size=self.place.world_size, timeout=self._timeout
        )

    def wrap(self, module: LightningModule) -> None:
        if not any(parameter.requires_grad for parameter in module.parameters()):
            self.model = module
            return
        device_ids = [self.root_device.index] if self.root_device.type == "cuda" else None
        wrapped = DataParallelStep(module, device_ids=device_ids, **self._ddp_options)
        freeze_buckets(wrapped)
        self.model = wrapped

    def training_step(self, module: LightningModule) -> Callable[..., Any]:
        if not isinstance(self.model, DataParallelStep):
            return module.training_step
        if module.automatic_optimization:
            return self.model
        return self._manual_training_step

    def _manual_training_step(self, *args: Any, **kwargs: Any) -> Any:
        # In manual optimisation each backward announces itself (below), so DDP's forward must not prepare one.
        model = self.model
        assert isinstance(model, DataParallelStep)
        model.require_backward_grad_sync = False
        try:
            return model(*args, **kwargs)
        finally:
            model.require_backward_grad_sync = True

    def before_manual_backward(self, loss: Tensor) -> None:
        model = self.model
        if not isinstance(model, DataParallelStep):
            return
        from torch.nn.parallel.distributed import _find_tensors

        if not model.static_graph:
            used = list(_find_tensors(loss)) if model.find_unused_parameters else []  # type: ignore[no-untyped-call]
            model.reducer.prepare_for_backward(used)

    def no_sync(self) -> AbstractContextManager[Any]:
        if isinstance(self.model, DataParallelStep):
            return self.model.no_sync()
        return nullcontext()

    def barrier(self, name: str | None = None) -> None:
        if self.root_device.type == "cuda" and dist.get_backend() == "nccl":
            dist.barrier(device_ids=[self.root_device.index])
        else:
            dist.barrier()

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        holder = [obj]
        dist.broadcast_object_list(holder, src)
        return holder[0]

    def reduce(self, tensor: Any, group: Any = None, reduce_op: str = "mean") -> Any:
        def over_ranks(value: Any) -> Any:
            result = value.clone().to(self.root_device)
            if reduce_op in ("mean", "avg") and not result.is_floating_point():
                result = result.to(torch.float32)
            dist.all_reduce(result, op=_OPERATIONS.get(reduce_op, dist.ReduceOp.SUM), group=group)
            return result / dist.get_world_size(group) if reduce_op in ("mean", "avg") else result

        return map_tensors(tensor, over_ranks)

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        votes = torch.tensor(int(decision), device=self.root_device)
        dist.all_reduce(votes)
        return bool(votes.item() == self.world_size) if all else bool(votes.item() > 0)

    def all_of(self, decision: bool) -> bool:
        votes = torch.tensor(int(decision))
        dist.all_reduce(votes, op=dist.ReduceOp.MIN, group=self._host_group())
        return bool(votes.item())

    def _host_group(self) -> Any:
        """A group that communicates between hosts, whatever the gradients go over; made at the first need, by all."""
        if "gloo" in dist.get_backend_config():
            return None
        if self._gloo is None:
            self._gloo = dist.new_group(backend="gloo", timeout=self._timeout)
        return self._gloo

    def wait_for_one(self, name: str, chosen: bool) -> None:
        # Over the store, which has no time limit of its own while it is only looked at: a download may take hours.
        store = dist.distributed_c10d._get_default_store()
        # Counted over all strategies of this process: what an earlier one waited for is still in the store.
        key = f"thunderhead/{name}/{next(_waits)}"
        if chosen:
            store.set(key, "done")
        while not store.check([key]):
            time.sleep(0.05)

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        def gather(value: Any) -> Any:
            value = value.to(self.root_device)
            if sync_grads:
                from torch.distributed.nn.functional import all_gather as differentiable

                parts = differentiable(value, group or dist.group.WORLD)  # type: ignore[no-untyped-call]  # torch's
                return torch.stack(parts)
            parts = [torch.zeros_like(value) for _ in range(dist.get_world_size(group))]
            dist.all_gather(parts, value.contiguous(), group=group)
            return torch.stack(parts)

        def tensors(value: Any) -> Any:
            return torch.tensor(value, device=self.root_device) if isinstance(value, (int, float)) else value

        return map_tensors(tensors(data), gather)

    def gather_objects(self, obj: Any) -> list[Any]:
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, obj)
        return found

    def sync_buffers(self, module: nn.Module) -> None:
        if isinstance(self.model, DataParallelStep) and self.model.broadcast_buffers:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def local_buffers(self, module: nn.Module) -> dict[str, Tensor]:
        if isinstance(self.model, DataParallelStep) and self.model.broadcast_buffers:
            return {}
        return dict(module.named_buffers())

    def teardown(self) -> None:
        super().teardown()


def freeze_buckets(model: nn.parallel.DistributedDataParallel) -> None:
    """Give the reducer the bucket layout that it would otherwise take on after the first step.

    DDP begins with buckets in the order of the parameters and rebuilds them after the first backward pass. From three
    ranks on, another layout adds the ranks' gradients in another order and gives other bits, so the first step of a
    resumed run would differ from the same step of an undisturbed one. Both start with the rebuilt layout instead.
    Not with ``find_unused_parameters``, where DDP never rebuilds, nor with ``static_graph``, where it needs the graph.
    """
    if model.find_unused_parameters or model.static_graph:
        return
    model.reducer._push_all_rebuilt_params()
    model.reducer._rebuild_buckets()


_OPERATIONS = {
    "sum": dist.ReduceOp.SUM,
    "mean": dist.ReduceOp.SUM,
    "avg": dist.ReduceOp.SUM,
    "min": dist.ReduceOp.MIN,
    "max": dist.ReduceOp.MAX,
}
