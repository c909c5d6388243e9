"""DDP around a module: its step in place of its forward, its buckets as they stay, and averages of what drifts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from thunderhead.exceptions import MisconfigurationException


class DataParallelStep(nn.parallel.DistributedDataParallel):
    """DDP around a module's ``training_step`` in place of its ``forward``."""

    def _run_ddp_forward(self, *inputs: Any, **kwargs: Any) -> Any:
        with self._inside_ddp_forward():
            return self.module.training_step(*inputs, **kwargs)


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


def average_after_steps(optimizers: Sequence[Optimizer], period: int, state: Any, *, in_job: bool) -> None:
    """Average the parameters over ranks every ``period`` optimizer steps, as post-local SGD needs it.

    Args:
        optimizers: whose steps count, each by itself.
        period: steps.
        state: the hook's; before its ``start_localSGD_iter`` nothing drifts.
        in_job: whether a job's checkpoints hold the parameters, of one rank for all.

    Raises:
        MisconfigurationException: in a job, or with an optimizer that averages by itself.
    """
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager

    if in_job:
        raise MisconfigurationException(
            "model_averaging_period lets the ranks' parameters differ, and a job's checkpoints hold one copy for all "
            "ranks; leave it out in a job"
        )
    for optimizer in optimizers:
        if type(optimizer).__name__ in ("PostLocalSGDOptimizer", "ZeroRedundancyOptimizer", "DistributedOptimizer"):
            raise MisconfigurationException(
                f"model_averaging_period with {type(optimizer).__name__}, which deals with parameters over ranks "
                "itself; return the optimizer inside of it from configure_optimizers"
            )
        averager = PeriodicModelAverager(period, warmup_steps=state.start_localSGD_iter)
        optimizer.register_step_post_hook(_averaging(averager))


def _averaging(averager: Any) -> Callable[..., None]:
    def average(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        groups = [[p for p in group["params"] if p.grad is not None] for group in optimizer.param_groups]
        averager.average_parameters(iter([parameter for group in groups for parameter in group]))

    return average
