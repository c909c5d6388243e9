"""One batch of an epoch in which nothing is optimised: ``training_step`` alone, for what layers learn by looking on."""

from __future__ import annotations

from typing import Any

import torch

from thunderhead.loops.step import Step


class ForwardStep(Step):
    """Calls ``training_step`` without gradients, and keeps what it returned for ``on_train_batch_end``."""

    def __call__(self, batch: object, batch_idx: int, *, steps: bool, divide_by: int) -> dict[str, Any]:
        """Its output as a dict, ``{}`` for None; the loss is not divided by anything."""
        sink = self._sink
        sink.hook, sink.entries = "training_step", self._entries
        arguments = (batch, batch_idx) if self._with_index else (batch,)
        with torch.no_grad():
            if self._context is None:
                output = self._function(*arguments)
            else:
                with self._context():
                    output = self._function(*arguments)
        if output is None:
            return {}
        return {**output} if isinstance(output, dict) else {"loss": output}
