"""Pulling ``/status`` from the agents of node 0: often while something is awaited, seldom else.

Everything it answers is untrusted: any process of any user's pod may have written it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from thunderhead_api.messages import StatusReply
from thunderhead_api.treaty import (
    AGENT_PORT,
    STATUS_MAX_BYTES,
    STATUS_TIMEOUT_SECONDS,
    TREATY_VERSION,
    Label,
    status_target,
)
from thunderhead_operator.cluster import http
from thunderhead_operator.control.queue import Key
from thunderhead_operator.control.reconcile import Memory
from thunderhead_operator.plan.objects import Obj, int_label, owner_uid, section, uid_of
from thunderhead_operator.plan.observed import Sample

_log = logging.getLogger(__name__)
Address = tuple[str, int]
Fetch = Callable[[Address, str], Awaitable[bytes]]
"""Asks an address for a path with its query."""
EAGER_S: Final = 0.5
STEADY_S: Final = 5.0
FAILED_LAST_S: Final = 10.0
_AT_ONCE: Final = 32


async def fetch_status(address: Address, target: str) -> bytes:
    """The bytes of an agent's ``/status``; ``target`` says whose.

    Raises:
        http.HttpError: no usable answer.
    """
    return await http.get(*address, target, timeout_s=STATUS_TIMEOUT_SECONDS, max_bytes=STATUS_MAX_BYTES)


def pod_address(pod: Obj) -> Address | None:
    """Where the agent of a pod listens; None before it has an address."""
    ip = section(pod, "status").get("podIP")
    return (str(ip), AGENT_PORT) if ip else None


def parse_status(body: bytes, *, uid: str, attempt: int) -> StatusReply | None:
    """The answer, if it is one of this treaty, job and attempt."""
    try:
        reply = StatusReply.model_validate_json(body)
    except ValidationError as error:
        _log.debug("an agent's status is not valid: %s", error)
        return None
    if (reply.treaty, reply.uid, reply.attempt) != (TREATY_VERSION, uid, attempt):
        return None
    return reply


class ProgressPuller:
    """One small task per running job."""

    def __init__(
        self,
        *,
        wake: Callable[[Key], None],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        write_period_s: float,
        fetch: Fetch = fetch_status,
        address_of: Callable[[Obj], Address | None] = pod_address,
    ) -> None:
        """``wake``: wants a pass for a key; ``address_of``: where the agent of a pod listens."""
        self._wake = wake
        self._now = now
        self._monotonic = monotonic
        self._write_period_s = write_period_s
        self._fetch = fetch
        self._address_of = address_of
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)

    def follow(self, key: Key, memory: Memory) -> None:
        """After each pass: pull while an attempt runs, stop when none does."""
        wanted = self._target(memory) is not None
        task = self._tasks.get(key)
        if wanted and (task is None or task.done()):
            self._tasks[key] = asyncio.create_task(self._pull(key, memory))

    async def stop(self) -> None:
        """End all tasks."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    async def _pull(self, key: Key, memory: Memory) -> None:
        failures = 0
        try:
            while (target := self._target(memory)) is not None:
                address, uid, attempt = target
                try:
                    async with self._gate:
                        body = await self._fetch(address, status_target(uid, attempt))
                except http.HttpError as error:
                    failures += 1
                    _log.debug("status of %s/%s: %s", *key, error)
                else:
                    failures = 0
                    reply = parse_status(body, uid=uid, attempt=attempt)
                    if reply is not None:
                        self._learn(key, memory, reply)
                await asyncio.sleep(self._interval_s(memory, failures))
        finally:
            if self._tasks.get(key) is asyncio.current_task():
                del self._tasks[key]

    def _target(self, memory: Memory) -> tuple[Address, str, int] | None:
        """Address of node 0's agent, uid and attempt, as the last pass read them."""
        if memory.job is None or memory.gone:
            return None
        uid, attempt = uid_of(memory.job), section(memory.job, "status").get("attempt", 0)
        if section(memory.job, "status").get("ending") or not attempt:
            return None
        for pod in memory.pods:
            ours = owner_uid(pod) == uid and int_label(pod, Label.ATTEMPT) == attempt
            if ours and int_label(pod, Label.NODE_RANK, -1) == 0 and section(pod, "status").get("phase") == "Running":
                address = self._address_of(pod)
                return None if address is None else (address, uid, int(attempt))
        return None

    def _learn(self, key: Key, memory: Memory, reply: StatusReply) -> None:
        """Keep the sample. A pass is wanted at once for what people wait for, else when a write is due again."""
        before = memory.sample.reply if memory.sample else None
        memory.sample = Sample(reply, self._now())
        news = before is None or before.attempt != reply.attempt or _stage(before) != _stage(reply)
        due = memory.written_at is None or self._monotonic() - memory.written_at >= self._write_period_s
        if news or (due and before != reply):
            self._wake(key)

    @staticmethod
    def _interval_s(memory: Memory, failures: int) -> float:
        if failures:
            return min(EAGER_S * 2.0 ** min(failures - 1, 8), FAILED_LAST_S)
        reply = memory.sample.reply if memory.sample else None
        return STEADY_S if reply is not None and reply.first_step_at else EAGER_S


def _stage(reply: StatusReply) -> tuple[bool, bool]:
    """What of an answer somebody waits for: all ranks have met; the first new step is done."""
    return 0 < reply.world_size <= reply.ranks_met, reply.first_step_at is not None
