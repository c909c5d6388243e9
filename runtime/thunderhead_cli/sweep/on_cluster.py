"""Trials on a cluster: each a TrainingJob, by ``kubectl``, which knows how this user reaches it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from thunderhead_api.status import TrainingJobStatus
from thunderhead_cli.options import WrongOption
from thunderhead_cli.sweep.runner import Seen, Stand, seen_in
from thunderhead_cli.sweep.trial_job import SWEEP_LABEL

KUBECTL: Final = ("kubectl",)
_RESOURCE: Final = "trainingjobs.thunderhead.dev"


class KubectlError(WrongOption):
    """What kubectl was asked for did not succeed; the message is its own."""


@dataclass(slots=True)
class ClusterRunner:
    """Implements :class:`~thunderhead_cli.sweep.runner.Runner`. A look is one question to the API server.

    Attributes:
        sweep: its name.
        namespace: of the jobs; kubectl's own by default.
        kubectl: the command.
    """

    sweep: str
    namespace: str | None = None
    kubectl: tuple[str, ...] = KUBECTL
    _names: dict[int, str] = field(default_factory=dict)

    async def start(self, number: int, job: Mapping[str, Any]) -> None:
        name = self._names[number] = job["metadata"]["name"]
        if name not in await self._jobs():
            await self._ask("create", "-f", "-", given=json.dumps(job))
        else:
            await self._suspend(name, False)

    async def look(self, numbers: Collection[int]) -> Mapping[int, Seen]:
        there = await self._jobs()
        return {number: _seen(self._names[number], there) for number in numbers}

    async def stop(self, number: int) -> None:
        await self._suspend(self._names[number], True)

    async def kill(self) -> None:
        """Nothing of a trial is on this machine."""

    def where(self, number: int) -> str:
        in_namespace = f" -n {self.namespace}" if self.namespace else ""
        return f"kubectl get trainingjob {self._names.get(number, f'{self.sweep}-{number}')}{in_namespace} -o yaml"

    async def _jobs(self) -> dict[str, dict[str, Any]]:
        """All trials of the sweep, by name."""
        answer = await self._ask("get", _RESOURCE, "-l", f"{SWEEP_LABEL}={self.sweep}", "-o", "json")
        return {job["metadata"]["name"]: job for job in json.loads(answer)["items"]}

    async def _suspend(self, name: str, suspend: bool) -> None:
        patch = json.dumps({"spec": {"suspend": suspend}})
        await self._ask("patch", _RESOURCE, name, "--type=merge", "-p", patch)

    async def _ask(self, *words: str, given: str | None = None) -> str:
        in_namespace = ("-n", self.namespace) if self.namespace else ()
        try:
            process = await asyncio.create_subprocess_exec(
                *self.kubectl,
                *words,
                *in_namespace,
                stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except FileNotFoundError:
            raise KubectlError("--on cluster: needs kubectl, which is not on PATH; install it") from None
        out, said = await process.communicate(None if given is None else given.encode())
        if process.returncode:
            raise KubectlError(f"--on cluster: kubectl {words[0]} failed: {said.decode(errors='replace').strip()}")
        return out.decode()


def _seen(name: str, there: Mapping[str, Mapping[str, Any]]) -> Seen:
    found = there.get(name)
    if found is None:
        return Seen(stand=Stand.FAILED, why=f"the TrainingJob {name} was deleted")
    seen = seen_in(TrainingJobStatus.model_validate(found.get("status") or {}))
    # Of one that was just told to go on, the status still says what was.
    going_on = seen.stand is Stand.STOPPED and not found["spec"].get("suspend")
    return replace(seen, stand=Stand.RUNNING) if going_on else seen
