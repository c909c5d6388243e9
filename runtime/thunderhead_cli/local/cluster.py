"""The cluster in memory, as this machine's kubelet and this command's user see it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import KIND
from thunderhead_operator.cluster.errors import NotFound
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.plan.kinds import Kind

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """One namespace with one job. Implements :class:`~thunderhead_cli.local.kubelet.PodStore`."""

    memory: MemoryCluster
    namespace: str
    name: str

    @property
    def job(self) -> Obj:
        """The job object."""
        return self.memory.get(KIND, self.namespace, self.name)

    @property
    def status(self) -> TrainingJobStatus:
        """Its status."""
        return TrainingJobStatus.model_validate(self.job.get("status") or {})

    def submit(self, job: Obj, *, uid: str, saved: Obj | None) -> None:
        """Apply ``job``, as ``kubectl apply`` would: new, or over the object of an earlier command (``saved``).

        The uid must be unique for all time, since checkpoints lie under it, so it comes from the caller.
        """
        self.memory.create(job, self.namespace)

        def change(stored: Obj) -> None:
            stored["metadata"]["uid"] = uid
            if saved is not None:
                same = saved["spec"] == stored["spec"]
                stored["metadata"]["uid"] = saved["metadata"]["uid"]
                stored["metadata"]["creationTimestamp"] = saved["metadata"]["creationTimestamp"]
                stored["metadata"]["generation"] = saved["metadata"]["generation"] + (0 if same else 1)
                stored["status"] = saved.get("status") or {}

        self.memory.edit(KIND, self.namespace, self.name, change)

    def add_code(self, config_maps: Mapping[str, Mapping[str, str]]) -> None:
        """Create the user's ConfigMaps."""
        for name, data in config_maps.items():
            manifest = {"kind": Kind.CONFIG_MAP.value, "metadata": {"name": name}, "data": dict(data)}
            self.memory.create(manifest, self.namespace)

    def suspend(self) -> None:
        """Ask for a stop with a checkpoint."""

        def change(job: Obj) -> None:
            job["spec"]["suspend"] = True

        self.memory.edit(KIND, self.namespace, self.name, change)

    def pods(self) -> list[Obj]:
        """See :class:`~thunderhead_cli.local.kubelet.PodStore`, as for what follows."""
        return self.memory.all(Kind.POD, self.namespace)

    def config_maps(self) -> dict[str, dict[str, str]]:
        found = self.memory.all(Kind.CONFIG_MAP, self.namespace)
        return {config_map["metadata"]["name"]: config_map.get("data") or {} for config_map in found}

    def secrets(self) -> dict[str, dict[str, str]]:
        found = self.memory.all(Kind.SECRET, self.namespace)
        return {secret["metadata"]["name"]: _decoded(secret.get("data") or {}) for secret in found}

    def bind(self, name: str, uid: str, node: str) -> None:
        self._set(name, uid, {}, node)

    def report(self, name: str, uid: str, status: Mapping[str, Any]) -> None:
        self._set(name, uid, status, None)

    def remove(self, name: str, uid: str) -> None:
        self.memory.confirm_deleted(self.namespace, name, uid)

    def _set(self, name: str, uid: str, status: Mapping[str, Any], node: str | None) -> None:
        try:
            if self.memory.get(Kind.POD, self.namespace, name)["metadata"]["uid"] == uid:
                self.memory.set_pod_status(self.namespace, name, status, node)
        except NotFound:  # deleted by force meanwhile; the next pass of the kubelet ends its processes
            return


def _decoded(data: Mapping[str, str]) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in data.items()}
