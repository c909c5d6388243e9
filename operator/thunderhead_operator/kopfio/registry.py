"""What kopf is asked to do: start, stop, answer probes. It watches nothing: that is ``control.watch``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import kopf


class Probed(Protocol):
    """Who is asked how it is."""

    def check(self) -> None:
        """Raise :class:`RuntimeError` if this process should be restarted."""


def shell_registry(
    probed: Probed, *, on_start: Callable[[], Awaitable[None]], on_stop: Callable[[], Awaitable[None]]
) -> kopf.OperatorRegistry:
    """A registry of our own, so that nothing registered elsewhere can slip in."""
    registry = kopf.OperatorRegistry()

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
        probed.check()
        return "ok"

    kopf.on.login(id="service-account", registry=registry)(kopf.login_with_service_account)
    kopf.on.login(id="kubeconfig", registry=registry)(kopf.login_with_kubeconfig)
    return registry
