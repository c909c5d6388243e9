"""Things that go wrong between the operator and its cluster, and what must hold whatever does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from thunderhead_api.treaty import KIND, Label
from thunderhead_operator.cluster.api import ClusterApi
from thunderhead_operator.cluster.errors import ApiError

MUTATING = frozenset({"patch_job_status", "delete_job", "create_child", "replace_child", "delete_child", "post_event"})


class Crash(BaseException):
    """The operator's process ends here."""


class Proxy:
    """Passes every call to ``api`` through :meth:`around`."""

    def __init__(self, api: ClusterApi) -> None:
        self.api = api

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.api, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self.around(name, lambda: method(*args, **kwargs), args)

        return call

    async def around(self, name: str, call: Callable[[], Awaitable[Any]], args: tuple[Any, ...]) -> Any:
        return await call()


class CrashAt(Proxy):
    """Ends the process before or after its ``number``-th mutating call (from 1); nothing gets through until revived."""

    def __init__(self, api: ClusterApi, number: int, *, after: bool) -> None:
        super().__init__(api)
        self.number, self.after = number, after
        self.count = 0
        self.dead = False

    async def around(self, name: str, call: Callable[[], Awaitable[Any]], args: tuple[Any, ...]) -> Any:
        if self.dead:
            raise Crash
        if name in MUTATING:
            self.count += 1
            if self.count == self.number:
                self.dead = True
                if self.after:
                    await call()
                raise Crash
        return await call()


class Counting(Proxy):
    """Counts calls by name."""

    def __init__(self, api: ClusterApi) -> None:
        super().__init__(api)
        self.calls: dict[str, int] = {}

    async def around(self, name: str, call: Callable[[], Awaitable[Any]], args: tuple[Any, ...]) -> Any:
        self.calls[name] = self.calls.get(name, 0) + 1
        return await call()

    @property
    def mutating(self) -> int:
        return sum(count for name, count in self.calls.items() if name in MUTATING)


class Flaky(Proxy):
    """Fails calls as ``choose`` says: None lets one pass, else (error, whether it takes effect all the same)."""

    def __init__(self, api: ClusterApi, choose: Callable[[str], tuple[ApiError, bool] | None]) -> None:
        super().__init__(api)
        self.choose = choose
        self.faults = 0

    async def around(self, name: str, call: Callable[[], Awaitable[Any]], args: tuple[Any, ...]) -> Any:
        fault = self.choose(name)
        if fault is None:
            return await call()
        self.faults += 1
        error, takes_effect = fault
        if takes_effect:
            await call()
        raise error


@dataclass
class Invariants:
    """Looks at every change of a cluster; ``broken`` says what should never be."""

    nodes: int
    max_restarts: int
    once: bool = True
    """A pod's name is created at most once."""
    live_phases: frozenset[str] = frozenset({"Pending", "Running"})
    """A pod in one of these is alive: no two attempts at once."""
    zombies: bool = False
    """A second operator may create pods that the first one has to remove."""
    broken: list[str] = field(default_factory=list)
    attempt: int = 0
    finished: bool = False
    pods: dict[str, tuple[int, str, str]] = field(default_factory=dict)  # name → attempt, phase, uid
    created: list[str] = field(default_factory=list)

    def saw(self, event: str, kind: str, obj: Mapping[str, Any]) -> None:
        if kind == KIND:
            self._job(obj)
        elif kind == "Pod":
            self._pod(event, obj)

    def _job(self, obj: Mapping[str, Any]) -> None:
        status = obj.get("status", {})
        attempt = status.get("attempt", 0)
        if attempt not in (self.attempt, self.attempt + 1):
            self.broken.append(f"attempt went from {self.attempt} to {attempt}")
        self.attempt = attempt
        ended = [
            c["type"]
            for c in status.get("conditions", [])
            if c["type"] in ("Complete", "Failed") and c["status"] == "True"
        ]
        if self.finished and not ended:
            self.broken.append("a finished job came back")
        if len(ended) > 1:
            self.broken.append("both Complete and Failed")
        self.finished = bool(ended)
        charged = [e["attempt"] for e in status.get("ledger", []) if not e["free"]]
        if len(charged) > self.max_restarts + 1:
            self.broken.append(f"{len(charged)} charged executions with a budget of {self.max_restarts}")
        numbers = [e["attempt"] for e in status.get("ledger", [])]
        if len(set(numbers)) != len(numbers):
            self.broken.append(f"an attempt is twice in the ledger: {numbers}")
        if status.get("restarts", {}).get("charged", 0) > self.max_restarts:
            self.broken.append("more restarts than the budget has")

    def _pod(self, event: str, pod: Mapping[str, Any]) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        attempt = int(pod["metadata"]["labels"][Label.ATTEMPT])
        if event == "ADDED":
            if self.once and name in self.created:
                self.broken.append(f"pod {name} was created twice")
            if self.finished and not self.zombies:
                self.broken.append(f"pod {name} of a finished job")
            self.created.append(name)
        if event == "DELETED":
            self.pods.pop(name, None)
        else:
            self.pods[name] = attempt, pod["status"]["phase"], uid
        live = {a for a, phase, _ in self.pods.values() if phase in self.live_phases}
        if len(live) > 1:
            self.broken.append(f"pods of attempts {sorted(live)} live together")
        mine = [n for n, (a, _, _) in self.pods.items() if a == attempt]
        if len(mine) > self.nodes:
            self.broken.append(f"{len(mine)} pods of attempt {attempt}")
