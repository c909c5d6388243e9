"""Tells Prometheus where the pods are.

Debian's Prometheus is built without discovery of its own for Kubernetes, so this small process asks the API server once
a second and writes what it learns to a file that Prometheus watches. Run as
`python -m e2e.cluster.discovery KUBECTL KUBECONFIG TARGETS`.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .shell import run

PORT_NAMES = frozenset({"agent", "metrics"})
_EVERY_S = 1.0


def targets(pods: list[dict[str, Any]]) -> list[dict[str, object]]:
    """One target per port named like a metrics port of a running pod, labelled as the Prometheus operator would."""
    return [
        {"targets": [f"{pod['status']['podIP']}:{port['containerPort']}"], "labels": _labels(pod, container, port)}
        for pod in pods
        if pod["status"].get("phase") == "Running" and pod["status"].get("podIP")
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
        if port.get("name") in PORT_NAMES
    ]


def _labels(pod: dict[str, Any], container: dict[str, Any], port: dict[str, Any]) -> dict[str, str]:
    return {
        "namespace": pod["metadata"]["namespace"],
        "pod": pod["metadata"]["name"],
        "container": container["name"],
        "endpoint": port["name"],
        "node": pod["spec"]["nodeName"],
    }


class ApiServer:
    """Reads with the certificate of a kubeconfig over one connection that is kept open."""

    def __init__(self, kubectl: str, kubeconfig: str) -> None:
        view = json.loads(run(kubectl, "--kubeconfig", kubeconfig, "config", "view", "--raw", "-o", "json"))
        cluster, user = view["clusters"][0]["cluster"], view["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pair:  # the ssl module reads a client's certificate from a file only
            pair.write(base64.b64decode(user["client-certificate-data"]))
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            context.load_cert_chain(pair.name)
        self._connection = http.client.HTTPSConnection(urlsplit(cluster["server"]).netloc, context=context, timeout=10)

    def pods(self) -> list[dict[str, Any]]:
        """All pods, from the server's cache. Raises OSError or http.client.HTTPException when it does not answer."""
        try:
            self._connection.request("GET", "/api/v1/pods?resourceVersion=0")
            reply = self._connection.getresponse()
            body = reply.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if reply.status != 200:
            raise OSError(f"GET pods: status {reply.status}: {body[:300]!r}")
        items: list[dict[str, Any]] = json.loads(body)["items"]
        return items


def main(kubectl: str, kubeconfig: str, file: Path) -> None:
    server, written = ApiServer(kubectl, kubeconfig), None
    while True:
        try:
            found = targets(server.pods())
        except (OSError, http.client.HTTPException) as error:
            print(f"API server: {error}", flush=True)
        else:
            if found != written:
                unfinished = file.with_suffix(".unfinished")
                unfinished.write_text(json.dumps(found))
                unfinished.rename(file)
                written = found
        time.sleep(_EVERY_S)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
