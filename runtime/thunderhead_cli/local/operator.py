"""The operator's reconciler over the cluster in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from thunderhead_api.messages import StatusReply
from thunderhead_api.treaty import Label
from thunderhead_cli.local.cluster import LocalCluster
from thunderhead_operator.control.reconcile import Memory, Reconciler
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Obj, section
from thunderhead_operator.plan.observed import Sample
from thunderhead_operator.plan.policy import ALLOW_ALL

CONFIG: Final = Config(policy=ALLOW_ALL, write_period_s=0.5)
"""A write costs nothing here, and the numbers at the end are as fresh as the last one; what a pod template asks for
reaches no further than this user's processes do anyway."""


class LocalOperator:
    """Decides and acts on the one job there is. Implements :class:`~thunderhead_cli.local.session.Operator`."""

    def __init__(self, cluster: LocalCluster, *, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        """``now``: wall clock; ``monotonic``: seconds."""
        self._key = cluster.namespace, cluster.name
        self._now = now
        self._reconciler = Reconciler(cluster.memory, config=CONFIG, now=now, monotonic=monotonic)
        cluster.memory.watch(self._notice)

    async def reconcile(self, reply: StatusReply | None) -> float | None:
        """See the protocol."""
        if reply is not None:
            memory = self._reconciler.memories.setdefault(self._key, Memory())
            memory.sample = Sample(reply, self._now())
        return await self._reconciler(self._key)

    def _notice(self, event: str, kind: str, obj: Obj) -> None:
        """As the watch does it: a deleted pod's last sight is kept, evidence that nothing else holds."""
        if event == "DELETED" and kind == Kind.POD and Label.JOB in section(obj, "metadata", "labels"):
            self._reconciler.remember_ghost(self._key, obj)
