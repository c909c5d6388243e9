"""The pod's HTTP port: ``/status``, ``/metrics``, ``/healthz``. Read-only, bounded, and workers never wait for it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any

from thunderhead_agent.addresses import listen
from thunderhead_api.treaty import HEALTH_PATH, METRICS_PATH, STATUS_MAX_BYTES, STATUS_PATH

MAX_CONCURRENT = 8
REQUEST_TIMEOUT_SECONDS = 5.0
JSON_TYPE = "application/json; charset=utf-8"
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Page = Callable[[], tuple[int, str, bytes]]
"""Makes an answer: status code, content type, body."""


class AgentServer(ThreadingHTTPServer):
    """Serves a fixed set of pages from threads of its own, at most :data:`MAX_CONCURRENT` at once."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, pages: dict[str, Page]) -> None:
        self.pages = pages
        self._slots = threading.BoundedSemaphore(MAX_CONCURRENT)
        listener = listen(host, port)
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self.socket.getsockname()[1]
        return port

    def start(self) -> None:
        """Serve from a thread of its own until the process ends."""
        threading.Thread(target=self.serve_forever, name="http", daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Refuse what exceeds the slots, instead of queueing it in memory."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One request; the slot is free again whatever happens."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up or sends nonsense is its own affair; the log belongs to the training."""


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT_SECONDS
    server_version = "thunderhead"
    sys_version = ""

    def __init__(self, request: socket.socket, client_address: Any, server: BaseServer) -> None:
        assert isinstance(server, AgentServer), "made by AgentServer alone"
        self._pages = server.pages
        super().__init__(request, client_address, server)

    def do_GET(self) -> None:
        """Answer one of the pages."""
        page = self._pages.get(self.path.split("?", 1)[0])
        if page is None:
            self._answer(404, "text/plain; charset=utf-8", b"not found; there are /status, /metrics and /healthz\n")
            return
        self._answer(*page())

    def log_message(self, format: str, *args: Any) -> None:
        """No access log: the pod's log is the training's."""

    def _answer(self, code: int, content_type: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def pages(status: Callable[[], bytes], metrics: Callable[[], bytes], healthy: Callable[[], bool]) -> dict[str, Page]:
    """The three pages."""

    def status_page() -> tuple[int, str, bytes]:
        body = status()
        assert len(body) <= STATUS_MAX_BYTES, "ranks and metrics are bounded"
        return 200, JSON_TYPE, body

    def health_page() -> tuple[int, str, bytes]:
        return (200, "text/plain", b"ok\n") if healthy() else (503, "text/plain", b"the agent's loop does not turn\n")

    return {STATUS_PATH: status_page, METRICS_PATH: lambda: (200, TEXT_TYPE, metrics()), HEALTH_PATH: health_page}
