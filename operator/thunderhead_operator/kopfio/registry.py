"""What kopf is asked to do: tell of events, log in, answer probes. No change handler, daemon, timer or index."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import kopf

from thunderhead_api.treaty import GROUP, KIND, PLURAL, VERSION, Label
from thunderhead_operator.plan.actions import Kind
from thunderhead_operator.plan.objects import Obj


class Ear(Protocol):
    """Who wants to hear."""

    def saw(self, event: str | None, kind: str, obj: Obj) -> None:
        """A watch event; must not raise and must not wait."""

    def check(self) -> None:
        """Raise :class:`RuntimeError` if this process should be restarted."""


def shell_registry(
    ear: Ear, *, on_start: Callable[[], Awaitable[None]], on_stop: Callable[[], Awaitable[None]]
) -> kopf.OperatorRegistry:
    """A registry of our own, so that nothing registered elsewhere can slip in."""
    registry = kopf.OperatorRegistry()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def job_event(event: kopf.RawEvent, **_: Any) -> None:
        ear.saw(event["type"], KIND, dict(event["object"]))

    @kopf.on.event("", "v1", "pods", labels={Label.JOB.value: kopf.PRESENT}, registry=registry)
    async def pod_event(event: kopf.RawEvent, **_: Any) -> None:
        ear.saw(event["type"], Kind.POD, dict(event["object"]))

    # A port that is taken stays so: end, and let the pod's restarts tell of it.
    @kopf.on.startup(errors=kopf.ErrorsMode.PERMANENT, registry=registry)
    async def start(**_: Any) -> None:
        await on_start()

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        await on_stop()

    # With the default error mode a probe that raises does not fail: it is retried inside the request.
    @kopf.on.probe(id="operator", errors=kopf.ErrorsMode.PERMANENT, registry=registry)
    async def probe(**_: Any) -> str:
        ear.check()
        return "ok"

    kopf.on.login(id="service-account", registry=registry)(kopf.login_with_service_account)
    kopf.on.login(id="kubeconfig", registry=registry)(kopf.login_with_kubeconfig)
    return registry
