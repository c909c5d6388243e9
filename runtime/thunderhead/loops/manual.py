"""One training batch in manual optimisation: ``training_step`` calls backward and the optimizers itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from thunderhead.exceptions import MisconfigurationException
from thunderhead.loops.step import Step


class ManualStep(Step):
    """Manual optimisation: ``training_step`` calls backward and the optimizers itself."""

    def __call__(self, batch: object, batch_idx: int, *, steps: bool, divide_by: int) -> dict[str, Any]:
        """Run ``training_step``; its output as a dict, ``{}`` for None."""
        sink = self._sink
        sink.hook, sink.entries = "training_step", self._entries
        arguments = (batch, batch_idx) if self._with_index else (batch,)
        if self._context is None:
            output = self._function(*arguments)
        else:
            with self._context():
                output = self._function(*arguments)
        if self._keeps_loss:
            loss = output.get("loss") if isinstance(output, dict) else output
            self._training.loss = loss.data if isinstance(loss, Tensor) else None
        if isinstance(output, dict):
            return output
        if isinstance(output, Tensor):
            return {"loss": output.detach()}
        if output is not None:
            raise MisconfigurationException(
                f"training_step returned {type(output).__name__}; in manual optimisation it must be a tensor, a "
                "dict or None"
            )
        return {}
