"""A module spread over ranks as its ``configure_model`` says: FSDP2, tensor parallelism, or both (2D)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from thunderhead.accelerators import Accelerator
from thunderhead.core.steps import Steps
from thunderhead.distributed.base import STATES, State
from thunderhead.distributed.cluster import ClusterEnvironment
from thunderhead.distributed.parallel import ParallelStrategy
from thunderhead.exceptions import MisconfigurationException
from thunderhead.files import file, in_place, sharded
from thunderhead.files.checkpoint_io import CheckpointIO, Path
from thunderhead.files.places import is_url
from thunderhead.precision import Precision
from thunderhead.ranks import Replica
from thunderhead.rng import seed_process

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

_PRECISIONS: Final = ("32-true", "bf16-mixed", "bf16-true", "16-true")
_DIMENSIONS: Final = ("data_parallel", "tensor_parallel")
_STEPS: Final = ("training_step", "validation_step", "test_step", "predict_step")


class ModelParallelStrategy(ParallelStrategy):
    """Ranks hold a module together, which shards itself over ``self.device_mesh`` in ``configure_model``.

    The mesh has the dimensions ``data_parallel`` and ``tensor_parallel``. Ranks along the second read the same data.

    Args:
        data_parallel_size: ranks along the first dimension; by default what the other leaves, or the number of nodes.
        tensor_parallel_size: ranks along the second; by default what the other leaves, or the processes of a node.
        save_distributed_checkpoint: a ``.ckpt`` is a directory that all ranks write, each its own part; else one file
            with everything whole, which rank 0 writes.
        process_group_backend: nccl, gloo, ...; by default what fits the device.
        timeout: how long a collective may take.
        accelerator: kind of the devices; by default the Trainer's.
        parallel_devices: the device of each process of this node; by default the Trainer's ``devices``.
        cluster_environment: who started the processes; by default found out.
        checkpoint_io: who writes ``.ckpt`` files that are one file.
        precision_plugin: number format.

    Raises:
        MisconfigurationException: a size is neither ``"auto"`` nor a number from 1.
    """

    name = "model_parallel"
    spreads = True

    def __init__(
        self,
        data_parallel_size: int | str = "auto",
        tensor_parallel_size: int | str = "auto",
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
        timeout: timedelta | None = timedelta(minutes=30),
        *,
        accelerator: Accelerator | None = None,
        parallel_devices: Sequence[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
    ) -> None:
        super().__init__(
            accelerator,
            parallel_devices,
            cluster_environment,
            checkpoint_io,
            precision_plugin,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )
        self._asked = (
            _size("data_parallel_size", data_parallel_size),
            _size("tensor_parallel_size", tensor_parallel_size),
        )
        self._together = save_distributed_checkpoint
        self._mesh: DeviceMesh | None = None
        self._module: nn.Module | None = None
        self._optimizers: Sequence[Optimizer] = ()
        self._shards: list[Any] = []
        self._lent: list[Any] = []

    # --- who among how many --------------------------------------------------------------------------------------

    @property
    def sizes(self) -> tuple[int, int]:
        """Ranks along the data-parallel and the tensor-parallel dimension.

        Raises:
            MisconfigurationException: together they are not all ranks.
        """
        data, tensor = self._asked
        world, place = self.world_size, self.process
        if data is None and tensor is None:
            data, tensor = place.num_nodes, place.local_world_size
        elif data is None:
            data = max(1, world // (tensor or 1))
        elif tensor is None:
            tensor = max(1, world // data)
        assert data is not None, "one of the two was given, or neither"
        assert tensor is not None, "one of the two was given, or neither"
        if data * tensor != world:
            raise MisconfigurationException(
                f"ModelParallelStrategy(data_parallel_size={data}, tensor_parallel_size={tensor}) needs "
                f"{data * tensor} ranks, but there are {world}; let their product be that, or leave one of them out"
            )
        return data, tensor

    @property
    def device_mesh(self) -> DeviceMesh:
        """What ``configure_model`` shards over.

        Raises:
            RuntimeError: the ranks have not met yet.
        """
        if self._mesh is None:
            raise RuntimeError("there is no device_mesh before the ranks have met; use it in configure_model")
        return self._mesh

    @property
    def data(self) -> Replica:
        data, tensor = self.sizes
        return Replica(self.global_rank // tensor, data)

    @property
    def data_group(self) -> dist.ProcessGroup | None:
        return None if self.sizes[1] == 1 else self.device_mesh.get_group("data_parallel")

    def setup_environment(self) -> None:
        super().setup_environment()
        if "PL_GLOBAL_SEED" not in os.environ:
            # Ranks that hold a layer together must draw its weights and its dropout alike.
            seed_process(self.tell(int(torch.randint(2**31, ()))))
        if self._mesh is None:
            self._mesh = self._new_mesh()

    def _new_mesh(self) -> DeviceMesh:
        from torch.distributed.device_mesh import init_device_mesh

        return init_device_mesh(self.root_device.type, self.sizes, mesh_dim_names=_DIMENSIONS)

    def leave(self) -> None:
        self._mesh = None
        super().leave()

    def check_precision(self, name: str) -> None:
        if name not in _PRECISIONS:
            raise MisconfigurationException(
                f"precision={name!r} under {type(self).__name__}, which takes {', '.join(_PRECISIONS)}; "
                f"{'scaled gradients would be of one rank alone: ' if name == '16-mixed' else ''}use 'bf16-mixed'"
            )

    # --- the module ----------------------------------------------------------------------------------------------

    def wrap_forward(self, module: nn.Module) -> nn.Module:
        self.configured(module, training=True)
        return module

    def configured(self, module: nn.Module, *, training: bool) -> None:
        from thunderhead.distributed import spreading

        self._module = module
        spreading.materialise(module, self.root_device)
        self._to_device(module)
        if training:
            spreading.refuse_drifting(module, self._replicas(), self.world_size)
            spreading.share_rest(module)
        spreading.call_steps_through_shards(module, _STEPS)
        self._shards = spreading.shards_of(module)
        if self.data_group is not None:
            self._lent = spreading.lend_group(module, self.data_group)

    def place(self, module: Steps, *, convert: Callable[[Steps], None], training: bool) -> None:
        # It is on its device: see ``configured``.
        convert(module)
        if training:
            self.wrap(module)

    def _to_device(self, module: nn.Module) -> None:
        module.to(self.root_device)

    def _replicas(self) -> Sequence[int]:
        """Ranks that train the same part of the module, if any, on other data."""
        return dist.get_process_group_ranks(self.device_mesh.get_group("data_parallel"))

    def no_sync(self) -> AbstractContextManager[Any]:
        return _unreduced(self._shards) if self._shards else nullcontext()

    def clip_gradients(self, optimizer: Optimizer, value: float, algorithm: str) -> None:
        own = getattr(self.precision_plugin, "clip_gradients", None)
        if own is not None or value <= 0 or algorithm not in ("norm", "value"):
            super().clip_gradients(optimizer, value, algorithm)
            return
        from thunderhead.distributed import sharded_clipping

        clip = sharded_clipping.clip_by_norm if algorithm == "norm" else sharded_clipping.clip_by_value
        clip([parameter for group in optimizer.param_groups for parameter in group["params"]], value)

    def attend_optimizers(self, optimizers: Sequence[Optimizer], *, in_job: bool) -> None:
        self._optimizers = optimizers

    def teardown(self) -> None:
        for metric in self._lent:
            metric.process_group = None
        self._lent = []
        # Module and optimizers stay until the next run: what a fit made may be saved after it.
        super().teardown()

    # --- state ---------------------------------------------------------------------------------------------------

    def module_state(self, module: nn.Module) -> dict[str, Any]:
        from thunderhead.distributed.sharded_state import clean

        return {clean(name): value for name, value in module.state_dict().items()}

    def load_module_state(self, module: nn.Module, state: dict[str, Any], *, strict: bool) -> None:
        from thunderhead.distributed.sharded_state import for_module

        module.load_state_dict(for_module(module, state), strict=strict)

    def load_optimizer_state(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        from thunderhead.distributed.sharded_state import for_optimizer

        optimizer.load_state_dict(for_optimizer(optimizer, state))

    def own_part(self, state: State) -> State:
        from thunderhead.distributed.sharded_state import own_part

        return own_part(state)

    def from_own_part(self, part: State) -> State:
        from thunderhead.distributed.sharded_state import from_own_part

        found: State = from_own_part(part)
        return found

    def gather_state(self, content: dict[str, Any], keys: Sequence[str] = STATES) -> None:
        if self._together:
            return
        from thunderhead.distributed.sharded_state import whole

        for key in keys:
            if key in content:
                gathered = whole(content[key], keep=self.is_global_zero)
                content[key] = gathered if self.is_global_zero else type(gathered)()

    def gradients(self, module: nn.Module) -> dict[str, Any]:
        from thunderhead.distributed.spreading import unreduced_gradients

        found: dict[str, Any] = self.own_part(super().gradients(module))
        return {**found, **unreduced_gradients(module)}

    def load_gradients(self, module: nn.Module, gradients: dict[str, Any]) -> None:
        from thunderhead.distributed.sharded_state import placed
        from thunderhead.distributed.spreading import load_unreduced_gradients

        found = self.from_own_part(gradients)
        unreduced = load_unreduced_gradients(module, found)
        for name, parameter in module.named_parameters():
            if name in found and name not in unreduced:
                parameter.grad = placed(found[name], parameter, f"the gradient of {name}")

    # --- files ---------------------------------------------------------------------------------------------------

    @property
    def saves_together(self) -> bool:
        return self._together

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Path, storage_options: Any = None) -> None:
        """Write a ``.ckpt``: one file on rank 0, or a directory on all ranks, which call this then."""
        if not self._together:
            super().save_checkpoint(checkpoint, filepath, storage_options)
            return
        from thunderhead.distributed.sharded_state import by_name

        assert self._module is not None, "entry points have configured one"
        rest = dict(checkpoint)
        tensors = {"state_dict": rest.pop("state_dict")}
        for number, (optimizer, state) in enumerate(
            zip(self._optimizers, rest.pop("optimizer_states", []), strict=False)
        ):
            tensors[f"optimizer_{number}"] = by_name(self._module, optimizer, state)
        self.write_together(tensors, rest, filepath, storage_options)

    def write_together(self, tensors: dict[str, Any], rest: dict[str, Any], filepath: Path, options: object) -> None:
        """Write a directory, whole or not at all: ``tensors`` by every rank, ``rest`` by rank 0.

        Raises:
            MisconfigurationException: at a URL, or with storage options.
        """
        path: str = self.tell(os.fspath(filepath))
        if is_url(path) or options is not None:
            raise MisconfigurationException(
                f"{path!r}: ranks that save together write a directory of a file system, without storage_options; pass "
                "ModelParallelStrategy(save_distributed_checkpoint=False) for one file anywhere"
            )
        written: str = self.tell(in_place.beside(path))
        self.on_first(lambda: os.makedirs(written), path)
        sharded.write_tensors(tensors, written)
        self.on_first(lambda: file.write(rest, os.path.join(written, sharded.META)), path)
        self.on_first(lambda: in_place.put_in_place(written, path), path)

    def load_checkpoint(self, checkpoint_path: Path, weights_only: bool | None = None) -> dict[str, Any]:
        path = os.fspath(checkpoint_path)
        if is_url(path) or not sharded.is_sharded(path):
            return super().load_checkpoint(checkpoint_path, weights_only)
        assert self._module is not None, "entry points have configured one"
        return file.read(path, weights_only=weights_only, make=room_like(self._module))


def room_like(module: nn.Module) -> sharded.Make:
    """Makes tensors cut as the parameter is that each belongs to, so that no rank reads what others hold."""
    from thunderhead.distributed.sharded_state import targets_of

    targets = targets_of(module)

    def room(path: tuple[Any, ...], size: torch.Size, dtype: torch.dtype) -> Tensor:
        at = {2: 1, 4: 2}.get(len(path))  # state_dict.<name>, optimizer_0.state.<name>.<key>
        target = None if at is None else targets.get(path[at])
        if target is None or target.shape != size:
            return torch.empty(size, dtype=dtype)
        return torch.empty_like(target, dtype=dtype)

    return room


@contextmanager
def _unreduced(shards: list[Any]) -> Iterator[None]:
    """Backward passes inside keep whole gradients on each rank."""
    for shard in shards:
        shard.set_requires_gradient_sync(False, recurse=False)
    try:
        yield
    finally:
        for shard in shards:
            shard.set_requires_gradient_sync(True, recurse=False)


def _size(name: str, value: object) -> int | None:
    if value == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise MisconfigurationException(
            f"ModelParallelStrategy({name}={value!r}) is neither 'auto' nor a number from 1"
        )
    return value
