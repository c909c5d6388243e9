"""``strategy="fsdp"``: FSDP2 around the layers that a policy chooses, with the arguments of Lightning's FSDP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from thunderhead.accelerators import Accelerator
from thunderhead.distributed import fsdp_options as options
from thunderhead.distributed.cluster import ClusterEnvironment
from thunderhead.distributed.model_parallel import ModelParallelStrategy
from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.checkpoint_io import CheckpointIO
from thunderhead.precision import Precision

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class FSDPStrategy(ModelParallelStrategy):
    """Every rank holds a piece of each parameter, and gathers a layer's while it is computed (FSDP2).

    Args:
        accelerator: kind of the devices; by default the Trainer's.
        parallel_devices: the device of each process of this node; by default the Trainer's ``devices``.
        cluster_environment: who started the processes; by default found out.
        checkpoint_io: who writes ``.ckpt`` files that are one file.
        precision_plugin: number format.
        process_group_backend: nccl, gloo, ...; by default what fits the device.
        timeout: how long a collective may take.
        cpu_offload: keep parameters on the host between uses; also torch's ``CPUOffload``.
        mixed_precision: what layers compute and reduce in: torch's ``MixedPrecision`` or ``MixedPrecisionPolicy``.
        auto_wrap_policy: which layers are gathered each by itself: a set of classes, or a policy of
            ``torch.distributed.fsdp.wrap``; by default the module is gathered as a whole.
        activation_checkpointing: the same as ``activation_checkpointing_policy``, by its older name.
        activation_checkpointing_policy: whose activations are computed again in backward.
        sharding_strategy: FULL_SHARD, SHARD_GRAD_OP (keep a layer until its backward), or HYBRID_SHARD: shards inside a
            node, copies over nodes.
        state_dict_type: a ``.ckpt`` is one file (``full``) or a directory that all ranks write (``sharded``).
        device_mesh: ``(copies, shards)``, or a mesh of torch's, for HYBRID_SHARD.
        **kwargs: keywords of FSDP1, as far as FSDP2 does what they ask for.

    Raises:
        MisconfigurationException: an argument means nothing, alone or here.
    """

    name = "fsdp"

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        parallel_devices: Sequence[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
        process_group_backend: str | None = None,
        timeout: timedelta | None = timedelta(minutes=30),
        cpu_offload: object = None,
        mixed_precision: object = None,
        auto_wrap_policy: object = None,
        activation_checkpointing: object = None,
        activation_checkpointing_policy: object = None,
        sharding_strategy: object = "FULL_SHARD",
        state_dict_type: str = "full",
        device_mesh: tuple[int, int] | DeviceMesh | None = None,
        **kwargs: object,
    ) -> None:
        if state_dict_type not in ("full", "sharded"):
            raise MisconfigurationException(
                f"FSDPStrategy(state_dict_type={state_dict_type!r}) is neither 'full' nor 'sharded'"
            )
        super().__init__(
            "auto",
            1,
            state_dict_type == "sharded",
            process_group_backend,
            timeout,
            accelerator=accelerator,
            parallel_devices=parallel_devices,
            cluster_environment=cluster_environment,
            checkpoint_io=checkpoint_io,
            precision_plugin=precision_plugin,
        )
        options.check_keywords(kwargs)
        hybrid, self._let_go = options.sharding(sharding_strategy)
        if device_mesh is not None and not hybrid:
            raise MisconfigurationException(
                f"FSDPStrategy(device_mesh={device_mesh!r}) says how HYBRID_SHARD copies and shards; pass "
                "sharding_strategy='HYBRID_SHARD' too"
            )
        self._shape = device_mesh
        self._hybrid = hybrid
        self._offload = bool(getattr(cpu_offload, "offload_params", cpu_offload))
        self._mixed = mixed_precision
        self._wrapped = options.read_policy("auto_wrap_policy", auto_wrap_policy)
        again = activation_checkpointing if activation_checkpointing_policy is None else activation_checkpointing_policy
        self._again = options.read_policy("activation_checkpointing_policy", again)

    def _new_mesh(self) -> DeviceMesh:
        from torch.distributed.device_mesh import init_device_mesh

        if not self._hybrid:
            return init_device_mesh(self.root_device.type, (self.world_size,), mesh_dim_names=("data_parallel",))
        if self._shape is not None and not isinstance(self._shape, tuple):
            return self._shape
        place = self.process
        copies, shards = (place.num_nodes, place.local_world_size) if self._shape is None else self._shape
        if copies * shards != self.world_size:
            raise MisconfigurationException(
                f"FSDPStrategy(device_mesh=({copies}, {shards})) needs {copies * shards} ranks, but there are "
                f"{self.world_size}"
            )
        return init_device_mesh(self.root_device.type, (copies, shards), mesh_dim_names=("replicate", "shard"))

    def _replicas(self) -> Sequence[int]:
        return range(self.world_size)

    def configured(self, module: nn.Module, *, training: bool) -> None:
        self._shard(module)
        super().configured(module, training=training)

    def _shard(self, module: nn.Module) -> None:
        """Choose layers and shard each, unless an earlier run or ``configure_model`` did."""
        from torch.distributed._composable.checkpoint_activation import checkpoint
        from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard

        from thunderhead.distributed.spreading import share_rest

        if any(isinstance(layer, FSDPModule) for layer in module.modules()):
            return
        if not any(tensor.is_meta for tensor in module.parameters()):
            module.to(self.root_device)
            share_rest(module)
        chosen = options.layers_of(module, self._wrapped) if self._wrapped is not None else []
        again = options.layers_of(module, self._again) if self._again is not None else []
        for layer in again:
            checkpoint(layer)
        pinned = self.root_device.type == "cuda"
        offload = CPUOffloadPolicy(pin_memory=pinned) if self._offload else OffloadPolicy()
        settings: dict[str, Any] = {"mesh": self.device_mesh, "offload_policy": offload, **self._policy()}
        # A manual step's own backward would come before FSDP2 has seen the end of the step: what it calls is sharded.
        by_hand = not getattr(module, "automatic_optimization", True)
        outer = list(options.children_with_parameters(module)) if by_hand else [module]
        for layer in [*chosen, *(layer for layer in outer if layer not in chosen)]:
            fully_shard(layer, reshard_after_forward=self._let_go and layer is not module, **settings)

    def _policy(self) -> dict[str, Any]:
        from torch.distributed.fsdp import MixedPrecisionPolicy

        given: Any = self._mixed
        if given is None:
            return {}
        if isinstance(given, MixedPrecisionPolicy):
            return {"mp_policy": given}
        return {"mp_policy": MixedPrecisionPolicy(param_dtype=given.param_dtype, reduce_dtype=given.reduce_dtype)}

    def _to_device(self, module: nn.Module) -> None:
        if not self._offload:
            super()._to_device(module)
