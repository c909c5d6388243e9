"""A cluster in memory with its operator and scripted kubelets, behind HTTP, in a thread: for clients that block."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from op_server import ApiServer
from op_world import NAMESPACE, START, World

from thunderhead_operator.cluster.errors import NotFound
from thunderhead_operator.cluster.memory import MemoryCluster, merged
from thunderhead_operator.plan.objects import Manifest

T = TypeVar("T")


class UsersServer(ApiServer):
    """What users ask besides: patches of objects, applies, field selectors, logs, watches that end.

    Attributes:
        logs: of each pod's container, as lines; a log that is followed ends with its pod's container.
    """

    def __init__(self, cluster: MemoryCluster) -> None:
        super().__init__(cluster)
        self.logs: dict[str, list[str]] = {}
        self.refused: set[tuple[str, str]] = set()  # verb and plural that this user has no right to

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if (request.method, path.split("/")[-1]) in self.refused:
            return _status(403, "Forbidden", f"user cannot {request.method} {path}")
        if path.endswith("/log"):
            self.requests.append((request.method, path))
            return await self._log(request, path.split("/")[-2])
        return await super()._handle(request)

    def _answer(self, request: web.Request, kind: str, namespace: Any, name: Any, sub: Any, body: Manifest) -> Any:
        if request.method == "PATCH" and sub is None:
            if request.content_type == "application/apply-patch+yaml":
                return self._apply(request, kind, namespace, name, body)
            return self.cluster.edit(kind, namespace, name, lambda obj: obj.update(merged(obj, body)))
        return super()._answer(request, kind, namespace, name, sub, body)

    def _apply(self, request: web.Request, kind: str, namespace: str, name: str, body: Manifest) -> Manifest:
        try:
            self.cluster.get(kind, namespace, name)
        except NotFound:
            return self.cluster.create({**body, "kind": kind}, namespace)
        return self.cluster.edit(kind, namespace, name, lambda obj: obj.update(merged(obj, body)))

    def _list(self, request: web.Request, kind: str, namespace: str | None) -> Manifest:
        found = super()._list(request, kind, namespace)
        wanted = dict(pair.split("=") for pair in request.query.get("fieldSelector", "").split(",") if pair)
        found["items"] = [item for item in found["items"] if _matches(item, wanted)]
        found["metadata"]["resourceVersion"] = str(self.cluster._version)  # of the whole cluster, as etcd has it
        return found

    async def _log(self, request: web.Request, name: str) -> web.StreamResponse:
        """Lines as they are added, each with the time of the first one and its number as nanoseconds."""
        response = web.StreamResponse()
        namespace = request.match_info["path"].split("/")[3]
        if self._container(namespace, name) == "waiting":
            return _status(400, "BadRequest", f'container "trainer" in pod "{name}" is waiting to start')
        await response.prepare(request)
        sent = 0
        while True:
            lines = self.logs.get(name, [])
            for number, line in enumerate(lines[sent:], sent):
                stamp = f"2026-01-01T00:00:00.{number:09d}Z " if request.query.get("timestamps") == "true" else ""
                await response.write(f"{stamp}{line}\n".encode())
            sent = len(lines)
            if request.query.get("follow") != "true" or self._container(namespace, name) != "running":
                return response
            await asyncio.sleep(0.01)

    def _container(self, namespace: str, name: str) -> str:
        try:
            pod = self.cluster.get("Pod", namespace, name)
        except NotFound:
            return "gone"
        states = [next(iter(s["state"])) for s in pod["status"].get("containerStatuses", [])]
        return states[0] if states else "waiting"


def _matches(obj: Manifest, wanted: dict[str, str]) -> bool:
    for path, value in wanted.items():
        at: Any = obj
        for word in path.split("."):
            at = at.get(word, {})
        if at != value:
            return False
    return True


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "reason": reason, "message": message}, status=code)


@dataclass
class Served:
    """The cluster, for a test that looks at it or moves it from outside of its thread.

    Attributes:
        world: operator, kubelets, time; time stands still but for ``tick``.
        server: what answers.
        loop: in which both live.
        kubeconfig: which names the server.
        url: of the server.
    """

    world: World
    server: UsersServer
    loop: asyncio.AbstractEventLoop
    kubeconfig: Path
    url: str
    namespace: str = NAMESPACE
    _failed: list[BaseException] = field(default_factory=list)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function where the cluster lives."""

        async def here() -> T:
            return function()

        return self.do(here())

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def tick(self, count: int = 1) -> None:
        """So many seconds pass; the operator and kubelets do their part."""

        async def here() -> None:
            await self.world.drain()
            await self.world.tick(count)

        self.do(here())

    def until(self, condition: Callable[[World], bool]) -> None:
        """Seconds pass until something is so."""
        self.do(self.world.run(condition))

    def later(self, count: int = 1) -> None:
        """The same as ``tick`` without waiting for it: for what happens while a client blocks."""
        asyncio.run_coroutine_threadsafe(self.world.tick(count), self.loop)


@contextmanager
def served(directory: Path) -> Iterator[Served]:
    """A cluster for the time of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="cluster")
    thread.start()
    stop = asyncio.Event()
    ready: list[Any] = []

    async def live(began: threading.Event) -> None:
        world = World()
        server = UsersServer(world.cluster)
        async with server.serve() as url:
            ready.extend((world, server, url))
            began.set()
            await stop.wait()

    began = threading.Event()
    living = asyncio.run_coroutine_threadsafe(live(began), loop)
    try:
        assert began.wait(30)
        world, server, url = ready
        yield Served(world, server, loop, write_kubeconfig(directory / "kubeconfig", url), url)
    finally:
        loop.call_soon_threadsafe(stop.set)
        living.result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def write_kubeconfig(path: Path, server: str, namespace: str = NAMESPACE) -> Path:
    """With one context, ``c``."""
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A cluster in memory behind HTTP, which KUBECONFIG names."""
    with served(tmp_path) as made:
        monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig))
        yield made


__all__ = ["START", "Served", "UsersServer", "cluster", "served", "write_kubeconfig"]
