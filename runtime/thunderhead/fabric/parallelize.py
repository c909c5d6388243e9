"""``ModelParallelStrategy`` for Fabric: a function of the user's shards the module as it is set up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch import nn

from thunderhead.distributed.model_parallel import ModelParallelStrategy as TrainersModelParallelStrategy


class FabricModelParallelStrategy(TrainersModelParallelStrategy):
    """Ranks hold a module together, which ``parallelize_fn(module, device_mesh)`` shards in ``Fabric.setup``.

    Args:
        parallelize_fn: shards the module over the mesh, and returns it.
        data_parallel_size: ranks along the first dimension of the mesh.
        tensor_parallel_size: ranks along the second.
        save_distributed_checkpoint: ``Fabric.save`` writes a directory, each rank its own part.
        process_group_backend: nccl, gloo, ...; by default what fits the device.
        timeout: how long a collective may take.
    """

    def __init__(
        self,
        # Takes module and mesh, returns a module; said so in types, a command line's completion lists every module.
        parallelize_fn: Callable[..., Any],
        data_parallel_size: int | str = "auto",
        tensor_parallel_size: int | str = "auto",
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
        timeout: timedelta | None = timedelta(minutes=30),
    ) -> None:
        super().__init__(
            data_parallel_size, tensor_parallel_size, save_distributed_checkpoint, process_group_backend, timeout
        )
        if not callable(parallelize_fn):
            raise TypeError(
                f"ModelParallelStrategy(parallelize_fn={parallelize_fn!r}) must be a function of module and device "
                "mesh; under the Trainer leave it out, and shard in configure_model"
            )
        self._parallelize_fn = parallelize_fn

    def wrap_forward(self, module: nn.Module) -> nn.Module:
        made = self._parallelize_fn(module, self.device_mesh)
        if not isinstance(made, nn.Module):
            raise TypeError(f"parallelize_fn returned a {type(made).__name__}; let it return the module")
        return super().wrap_forward(made)


ModelParallelStrategy = FabricModelParallelStrategy
