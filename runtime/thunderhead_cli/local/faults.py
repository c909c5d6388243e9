"""Faults on purpose: kill a pod once training has come so far."""

from __future__ import annotations

import re
from dataclasses import dataclass

from thunderhead_cli.options import WrongOption

_FORM = re.compile(r"(?P<node>\d+)@(?P<amount>\d+)(?P<unit>%|steps?)?")


@dataclass(frozen=True, slots=True)
class KillPod:
    """SIGKILL to every process of the pod of ``node_rank``, once.

    Attributes:
        percent: of the run that must be done first, or None.
        step: optimizer step that must be done first, or None.
    """

    node_rank: int
    percent: int | None = None
    step: int | None = None

    def is_due(self, *, step: int, percent: int | None) -> bool:
        """Whether training has come that far."""
        if self.step is not None:
            return step >= self.step
        return percent is not None and self.percent is not None and percent >= self.percent

    def __str__(self) -> str:
        """As the user wrote it."""
        return f"{self.node_rank}@{self.step}" if self.step is not None else f"{self.node_rank}@{self.percent}%"


def parse_kill(text: str, *, nodes: int) -> KillPod:
    """``1@50%`` → the pod of node 1 at half of the run; ``1@200`` → at step 200.

    Raises:
        WrongOption: another form, or a node the job does not have.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise WrongOption(f"--kill-pod {text}: must be NODE@PERCENT% or NODE@STEP; write for example 1@50%")
    node, amount = int(match["node"]), int(match["amount"])
    if node >= nodes:
        raise WrongOption(f"--kill-pod {text}: the job has {nodes} nodes; choose a node from 0 to {nodes - 1}")
    if match["unit"] != "%":
        return KillPod(node, step=amount)
    if amount >= 100:
        raise WrongOption(f"--kill-pod {text}: at 100 % the job is done; choose a lower share")
    return KillPod(node, percent=amount)
