"""A copy of the module per process, with gradients averaged during backward (DDP)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from thunderhead.accelerators import Accelerator
from thunderhead.core.steps import Steps
from thunderhead.distributed.base import SingleDeviceStrategy, Strategy
from thunderhead.distributed.cluster import ClusterEnvironment
from thunderhead.distributed.ddp_model import DataParallelStep, average_after_steps, explain_unused, freeze_buckets
from thunderhead.distributed.ddp_options import check_hook, check_options, check_start_method
from thunderhead.distributed.parallel import ParallelStrategy
from thunderhead.files.checkpoint_io import CheckpointIO
from thunderhead.precision import Precision

Wrapper = TypeVar("Wrapper", bound=nn.parallel.DistributedDataParallel)

__all__ = ["DDPStrategy", "DataParallelStep", "SingleDeviceStrategy", "Strategy", "freeze_buckets"]


class DDPStrategy(ParallelStrategy):
    """A copy of the module per rank, gradients averaged during backward.

    Args:
        accelerator: kind of the devices; by default the Trainer's.
        parallel_devices: the device of each process of this node; by default the Trainer's ``devices``.
        cluster_environment: who started the processes; by default found out.
        checkpoint_io: who writes ``.ckpt`` files.
        precision_plugin: number format.
        ddp_comm_state: state of the hook.
        ddp_comm_hook: communicates gradients in DDP's place (``torch.distributed.algorithms.ddp_comm_hooks``).
        ddp_comm_wrapper: wraps the hook, as ``fp16_compress_wrapper`` does.
        model_averaging_period: steps between averages of the parameters, with post-local SGD.
        process_group_backend: nccl, gloo, ...; by default what fits the device.
        timeout: how long a collective may take.
        start_method: how processes are started where no launcher did it: ``popen`` (the script runs again), ``spawn``,
            ``fork`` or ``forkserver``.
        **kwargs: passed to ``torch.nn.parallel.DistributedDataParallel``.

    Raises:
        MisconfigurationException: an argument means nothing, alone or here.
    """

    name = "ddp"

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        parallel_devices: Sequence[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
        ddp_comm_state: object | None = None,
        ddp_comm_hook: Callable[..., Any] | None = None,
        ddp_comm_wrapper: Callable[..., Any] | None = None,
        model_averaging_period: int | None = None,
        process_group_backend: str | None = None,
        timeout: timedelta | None = timedelta(minutes=30),
        start_method: str = "popen",
        **kwargs: object,
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
        check_hook(ddp_comm_hook, ddp_comm_state, ddp_comm_wrapper, model_averaging_period)
        self.start_method = check_start_method(start_method)
        self._ddp_options = check_options(kwargs)
        self._hook = None if ddp_comm_hook is None else (ddp_comm_wrapper or _itself)(ddp_comm_hook)
        self._hook_state = ddp_comm_state
        self._averaging_period = model_averaging_period

    def wrap(self, module: Steps) -> None:
        if not any(parameter.requires_grad for parameter in module.parameters()):
            self.model = module
            return
        self.model = self._around(module, DataParallelStep)

    def wrap_forward(self, module: nn.Module) -> nn.Module:
        trained = any(parameter.requires_grad for parameter in module.parameters())
        return self._around(module, nn.parallel.DistributedDataParallel) if trained else module

    def _around(self, module: nn.Module, kind: type[Wrapper]) -> Wrapper:
        device_ids = [self.root_device.index] if self.root_device.type == "cuda" else None
        wrapped = kind(module, device_ids=device_ids, **self._ddp_options)
        if self._hook is not None:
            wrapped.register_comm_hook(self._hook_state, self._hook)
        freeze_buckets(wrapped)
        return wrapped

    def training_step(self, module: Steps) -> Callable[..., Any]:
        if not isinstance(self.model, DataParallelStep):
            return module.training_step
        self.model.by_hand = not module.automatic_optimization
        return self._manual_training_step if self.model.by_hand else self.model

    def _manual_training_step(self, *args: object, **kwargs: object) -> object:
        # Each backward announces itself (below), so DDP's forward, once the step is done, must not prepare one more.
        model = self.model
        assert isinstance(model, DataParallelStep)
        reduced = model.require_backward_grad_sync
        try:
            return model(*args, **kwargs)
        finally:
            model.require_backward_grad_sync = reduced

    def before_manual_backward(self, loss: Tensor) -> None:
        model = self.model
        if not isinstance(model, DataParallelStep) or not model.require_backward_grad_sync:
            return
        from torch.nn.parallel.distributed import _find_tensors

        if not model.static_graph:
            used = list(_find_tensors(loss)) if model.find_unused_parameters else []  # type: ignore[no-untyped-call]
            model.reducer.prepare_for_backward(used)

    def no_sync(self) -> AbstractContextManager[Any]:
        if isinstance(self.model, DataParallelStep):
            return self.model.no_sync()
        return nullcontext()

    def sync_buffers(self, module: nn.Module) -> None:
        if isinstance(self.model, DataParallelStep) and self.model.broadcast_buffers:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def local_buffers(self, module: nn.Module) -> dict[str, Tensor]:
        if isinstance(self.model, DataParallelStep) and self.model.broadcast_buffers:
            return {}
        return dict(module.named_buffers())

    def attend_optimizers(self, optimizers: Sequence[Optimizer], *, in_job: bool) -> None:
        if self._averaging_period is not None:
            average_after_steps(optimizers, self._averaging_period, self._hook_state, in_job=in_job)

    def explanations(self, error: BaseException, module: nn.Module) -> Iterable[str]:
        if not isinstance(self.model, DataParallelStep):
            return ()
        name = {"spawn": "ddp_spawn", "fork": "ddp_fork"}.get(self.start_method, "ddp")
        return explain_unused(error, self.model, name)


def _itself(hook: Callable[..., Any]) -> Callable[..., Any]:
    return hook
