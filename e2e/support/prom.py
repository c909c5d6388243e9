"""Questions to a real Prometheus."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True)
class Prometheus:
    """One server, by its URL."""

    url: str

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and newest value of every series that an instant query selects."""
        result = self._get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def targets(self, namespace: str) -> list[dict[str, Any]]:
        """Active scrape targets that are pods of a namespace, with their health and last error."""
        active = self._get("targets", state="active")["activeTargets"]
        return [target for target in active if target["labels"].get("namespace") == namespace]

    def _get(self, what: str, **query: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{urlencode(query)}", timeout=10) as reply:
            found: dict[str, Any] = json.load(reply)["data"]
            return found
