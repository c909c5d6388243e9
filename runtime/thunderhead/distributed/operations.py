"""What values of several ranks may be reduced by, as users name it."""

from __future__ import annotations

from typing import Final

import torch.distributed as dist

from thunderhead.exceptions import MisconfigurationException, did_you_mean

# A mean is a sum that is divided: gloo knows no other.
_OPERATIONS: Final[dict[str, dist.ReduceOp.RedOpType | None]] = {
    "mean": None,
    "avg": None,
    "sum": dist.ReduceOp.SUM,
    "min": dist.ReduceOp.MIN,
    "max": dist.ReduceOp.MAX,
    "product": dist.ReduceOp.PRODUCT,
    "band": dist.ReduceOp.BAND,
    "bor": dist.ReduceOp.BOR,
    "bxor": dist.ReduceOp.BXOR,
}


# Names, in any case, or torch's own.
ReduceOp = str | dist.ReduceOp | dist.ReduceOp.RedOpType


def operation_of(asked: object) -> dist.ReduceOp | dist.ReduceOp.RedOpType | None:
    """Torch's own for a name or for one of torch's; None for the mean.

    Raises:
        MisconfigurationException: there is none, and what sums instead would go unnoticed.
    """
    if isinstance(asked, str):
        name = asked.lower()
        if name in _OPERATIONS:
            return _OPERATIONS[name]
    elif isinstance(asked, (dist.ReduceOp, dist.ReduceOp.RedOpType)):  # which are equal to numbers
        if asked == dist.ReduceOp.AVG:
            return None
        if any(asked == operation for operation in _OPERATIONS.values() if operation is not None):
            return asked
    raise MisconfigurationException(
        f"reduce_op={asked!r} does not exist.{did_you_mean(str(asked).lower(), _OPERATIONS)} There are "
        f"{', '.join(_OPERATIONS)}, in any case, or the same of torch.distributed.ReduceOp"
    )
