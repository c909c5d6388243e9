"""Several processes that know each other, one per device: how they meet, and what they tell each other."""

from __future__ import annotations

import atexit
import itertools
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import HashStore
from torch.utils._pytree import tree_map

from thunderhead.accelerators import Accelerator
from thunderhead.device_kinds import group_backend
from thunderhead.distributed.base import Sent, Strategy
from thunderhead.distributed.cluster import ClusterEnvironment
from thunderhead.distributed.launch import ScriptLauncher
from thunderhead.distributed.leave import keep_group_out_of_defaults
from thunderhead.distributed.messages import ObjectSeal, broadcast_bytes, gather_bytes
from thunderhead.distributed.operations import ReduceOp, operation_of
from thunderhead.files.checkpoint_io import CheckpointIO
from thunderhead.precision import Precision
from thunderhead.ranks import Reduced
from thunderhead.rng import seed_process
from thunderhead.tensors import map_tensors

_waits = itertools.count()
_endings = itertools.count()
_OUTSIDE = "thunderhead/outside/{}"


class ParallelStrategy(Strategy):
    """What strategies of several processes have in common; how a module is spread over them is theirs to say.

    Args:
        accelerator: kind of the devices; by default the Trainer's.
        parallel_devices: the device of each process of this node; by default the Trainer's ``devices``.
        cluster_environment: who started the processes; by default found out.
        checkpoint_io: who writes ``.ckpt`` files.
        precision_plugin: number format.
        process_group_backend: nccl, gloo, ...; by default what fits the device.
        timeout: how long a collective may take.
    """

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        parallel_devices: Sequence[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
        *,
        process_group_backend: str | None = None,
        timeout: timedelta | None = timedelta(minutes=30),
    ) -> None:
        super().__init__(None, accelerator, checkpoint_io, precision_plugin)
        self.cluster_environment = cluster_environment
        self.parallel_devices = None if parallel_devices is None else list(parallel_devices)
        self._backend = process_group_backend
        self._timeout = timeout
        self._gloo: dist.ProcessGroup | None = None
        self._sealed: tuple[Any, ObjectSeal] | None = None  # with the store that its key came from

    @property
    def world_size(self) -> int:
        return self.process.world_size

    @property
    def global_rank(self) -> int:
        return self.process.rank

    @property
    def local_rank(self) -> int:
        return self.process.local_rank

    @property
    def node_rank(self) -> int:
        return self.process.node_rank

    def setup_environment(self) -> None:
        if isinstance(self.launcher, ScriptLauncher):
            self.launcher.launch()
        super().setup_environment()
        # All ranks go on from the seed that was chosen, whatever each has drawn before.
        if "PL_GLOBAL_SEED" in os.environ:
            seed_process(int(os.environ["PL_GLOBAL_SEED"]))
        if dist.is_initialized():
            return
        backend = self._backend or group_backend(self.root_device.type)
        keep_group_out_of_defaults()
        # Alone, there is nobody to meet.
        store = HashStore() if self.world_size == 1 else None
        dist.init_process_group(
            backend, store=store, rank=self.process.rank, world_size=self.process.world_size, timeout=self._timeout
        )
        # Last in, first out: before the launcher's handler, which waits for the other ranks, for they leave too.
        atexit.register(self.leave)
        if isinstance(self.launcher, ScriptLauncher):
            self.launcher.outside = self._is_outside

    def tell_outside(self, outside: bool) -> None:
        # Whoever would hear of it may be gone.
        with suppress(RuntimeError):
            if not self._alone:
                store = dist.distributed_c10d._get_default_store()
                store.set(_OUTSIDE.format(self.global_rank), str(int(outside)))

    def _is_outside(self, local_rank: int) -> bool:
        key = _OUTSIDE.format(self.process.rank + local_rank)
        with suppress(RuntimeError):
            store = None if self._alone else dist.distributed_c10d._get_default_store()
            return store is not None and store.check([key]) and store.get(key) == b"1"
        return False

    def leave(self) -> None:
        self._gloo = self._sealed = None
        super().leave()

    @property
    def _alone(self) -> bool:
        """No group yet, or none any more in the process that started the ranks: there is nobody to ask."""
        return not dist.is_initialized()

    def barrier(self, name: str | None = None) -> None:
        if self._alone:
            return
        if self.root_device.type == "cuda" and dist.get_backend() == "nccl":
            dist.barrier(device_ids=[self.root_device.index])
        else:
            dist.barrier()

    def broadcast(self, obj: Sent, src: int = 0) -> Sent:
        if self._alone:
            return obj
        purpose = f"broadcast of rank {src}"
        packed = self._seal.pack(obj, purpose) if self.global_rank == src else b""
        packed = broadcast_bytes(packed, src, self._words_device)
        sent: Sent = obj if self.global_rank == src else self._seal.unpack(packed, purpose)
        return sent

    def tell(self, words: object, src: int = 0) -> Any:
        if self._alone:
            return words
        said = json.dumps(words).encode() if self.global_rank == src else b""
        return json.loads(broadcast_bytes(said, src, self._words_device))

    def gather_words(self, words: object) -> list[Any]:
        return [json.loads(said) for said in gather_bytes(json.dumps(words).encode(), self._words_device)]

    @property
    def _words_device(self) -> torch.device:
        """Where messages travel: the host, where the group can, so that nothing waits for a device."""
        return torch.device("cpu") if "gloo" in dist.get_backend_config() else self.root_device

    @property
    def _seal(self) -> ObjectSeal:
        """Of the present process group."""
        store = dist.distributed_c10d._get_default_store()
        if self._sealed is None or self._sealed[0] is not store:
            self._sealed = store, ObjectSeal(store)
        return self._sealed[1]

    def reduce(self, tensor: Reduced, group: dist.ProcessGroup | None = None, reduce_op: ReduceOp = "mean") -> Reduced:
        operation = operation_of(reduce_op)
        if self._alone:
            return tensor

        def over_ranks(value: Tensor) -> Tensor:
            result = value.clone().to(self.root_device)
            if operation is not None:
                dist.all_reduce(result, op=operation, group=group)
                return result
            if not result.is_floating_point():
                result = result.to(torch.float32)
            dist.all_reduce(result, op=dist.ReduceOp.SUM, group=group)
            return result / dist.get_world_size(group)

        reduced: Reduced = map_tensors(tensor, over_ranks)
        return reduced

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        if self._alone:
            return decision
        votes = torch.tensor(int(decision), device=self.root_device)
        dist.all_reduce(votes)
        return bool(votes.item() == self.world_size) if all else bool(votes.item() > 0)

    def all_of(self, decision: bool) -> bool:
        votes = torch.tensor(int(decision))
        dist.all_reduce(votes, op=dist.ReduceOp.MIN, group=self._host_group())
        return bool(votes.item())

    def _host_group(self) -> dist.ProcessGroup | None:
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

    def all_gather(self, data: object, group: dist.ProcessGroup | None = None, sync_grads: bool = False) -> Any:
        def gather(value: Tensor) -> Tensor:
            value = value.to(self.root_device)
            if sync_grads:
                from torch.distributed.nn.functional import all_gather as differentiable

                parts = differentiable(value, group or dist.group.WORLD)  # type: ignore[no-untyped-call]  # torch's
                return torch.stack(parts)
            parts = [torch.zeros_like(value) for _ in range(dist.get_world_size(group))]
            dist.all_gather(parts, value.contiguous(), group=group)
            return torch.stack(parts)

        return map_tensors(tree_map(self._as_tensor, data), gather)

    def _as_tensor(self, value: object) -> object:
        if isinstance(value, bool):
            return torch.tensor(value, dtype=torch.uint8, device=self.root_device)
        if isinstance(value, (int, float)) or (hasattr(value, "__array__") and not isinstance(value, Tensor)):
            return torch.as_tensor(value, device=self.root_device)
        return value

    def gather_objects(self, obj: object) -> list[Any]:
        packed = self._seal.pack(obj, f"object of rank {self.global_rank}")
        found = gather_bytes(packed, self._words_device)
        return [self._seal.unpack(data, f"object of rank {rank}") for rank, data in enumerate(found)]

    def gather_on_first(self, obj: object) -> list[Any]:
        if self._alone:
            return [obj]
        packed = self._seal.pack(obj, f"object of rank {self.global_rank} for rank 0")
        found = gather_bytes(packed, self._words_device, on_first=True)
        return [self._seal.unpack(data, f"object of rank {rank} for rank 0") for rank, data in enumerate(found)]

    def leave_with_first(self, obj: object, seconds: float) -> list[Any]:
        # A rank that was killed meanwhile would let a collective wait for its time limit, in which all are killed.
        store = dist.distributed_c10d._get_default_store()
        # Counted over all strategies of this process: what an earlier run left is still in the store.
        number = next(_endings)
        keys = [f"thunderhead/ended/{number}/{rank}" for rank in range(self.world_size)]
        store.set(keys[self.global_rank], self._seal.pack(obj, keys[self.global_rank]))  # type: ignore[arg-type]  # bytes are taken as well
        if not self.is_global_zero:
            return []
        store.wait(keys, timedelta(seconds=seconds))
        return [self._seal.unpack(store.get(key), key) for key in keys]
