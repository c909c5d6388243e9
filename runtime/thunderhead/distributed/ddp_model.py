"""DDP around a module: its step in place of its forward, its buckets as they stay, and averages of what drifts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from torch import nn
from torch.optim import Optimizer

from thunderhead.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager


class DataParallelStep(nn.parallel.DistributedDataParallel):
    """DDP around a module's ``training_step`` in place of its ``forward``.

    Attributes:
        by_hand: manual optimisation: each backward in the step announces itself, and none comes after it.
    """

    by_hand = False

    def _run_ddp_forward(self, *inputs: object, **kwargs: object) -> object:
        with self._inside_ddp_forward():
            output = self.module.training_step(*inputs, **kwargs)
        if self.by_hand:
            # Only now: within the step this says whether a backward is to be reduced (no_sync).
            self.require_backward_grad_sync = False
        return output


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


_UNUSED: Final = "Expected to have finished reduction in the prior iteration"
_INDICES: Final = re.compile(r"did not receive grad for rank \d+: ([\d ]+)")


def explain_unused(error: BaseException, model: nn.parallel.DistributedDataParallel, name: str) -> Iterator[str]:
    """Which parameters an earlier step left without a gradient, where that is why DDP gave up.

    Args:
        error: what a step raised.
        model: the wrapped module.
        name: the strategy's name, with how it starts processes.
    """
    if not isinstance(error, RuntimeError) or _UNUSED not in str(error) or model.find_unused_parameters:
        return
    indices = _INDICES.search(str(error))
    trained = [key for key, parameter in model.module.named_parameters() if parameter.requires_grad]
    unused = [trained[int(index)] for index in indices[1].split() if int(index) < len(trained)] if indices else []
    yield (
        f"The step before gave {', '.join(unused) or 'some parameters'} of {type(model.module).__name__} no gradient. "
        "Use them in training_step, freeze them, or pass "
        f"Trainer(strategy='{name}_find_unused_parameters_true'); an object takes find_unused_parameters=True"
    )


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


def _averaging(averager: PeriodicModelAverager) -> Callable[..., None]:
    def average(optimizer: Optimizer, args: object, kwargs: object) -> None:
        groups = [[p for p in group["params"] if p.grad is not None] for group in optimizer.param_groups]
        averager.average_parameters(iter([parameter for group in groups for parameter in group]))

    return average
