"""Prometheus beside the cluster, scraping whichever pods there are."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from . import daemon, discovery
from .cgroups import Cgroup
from .config import Config
from .shell import wait_until

PORT = 9090


def url(config: Config) -> str:
    return f"http://{config.private_ip}:{PORT}"


def rules_dir(state: Path) -> Path:
    """Rule files put here count after the next reload."""
    return state / "prometheus" / "rules"


def start(config: Config, kubectl: Path, group: Cgroup) -> None:
    """Starts Prometheus and, beside it, what tells it where the pods are."""
    home, log = config.state / "prometheus", config.state / "log"
    rules_dir(config.state).mkdir(parents=True, exist_ok=True)
    written, targets = home / "prometheus.yml", home / "targets.json"
    written.write_text(json.dumps(settings(pods_in(targets), rules_dir(config.state))))
    daemon.start(
        group / "discovery",
        [sys.executable, "-m", f"{__package__}.discovery", kubectl, config.kubeconfig, targets],
        log=log / "discovery.log",
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    daemon.start(
        group / "server",
        ["prometheus", f"--config.file={written}", f"--storage.tsdb.path={home / 'data'}",
         f"--web.listen-address={config.private_ip}:{PORT}", "--web.enable-lifecycle",
         "--storage.tsdb.retention.time=1d"],
        log=log / "prometheus.log",
    )  # fmt: skip
    wait_until(lambda: answers(url(config)), "Prometheus answers", timeout_s=60)


def answers(base: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/-/ready", timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def settings(pods: Mapping[str, object], rules: Path) -> dict[str, object]:
    """Prometheus' configuration, given its one scrape configuration."""
    every = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"}
    return {"global": every, "rule_files": [str(rules / "*.yaml")], "scrape_configs": [pods]}


def pods_in(targets: Path) -> dict[str, object]:
    """Scrapes what `discovery.py` writes to a file."""
    return {"job_name": "pods", "file_sd_configs": [{"files": [str(targets)]}]}


def pods_of(kubeconfig: Path) -> dict[str, object]:
    """Scrapes what Prometheus itself finds: the same ports with the same labels as `discovery.targets`."""
    meta = "__meta_kubernetes_pod"
    labels = {
        "namespace": "__meta_kubernetes_namespace",
        "pod": f"{meta}_name",
        "container": f"{meta}_container_name",
        "endpoint": f"{meta}_container_port_name",
        "node": f"{meta}_node_name",
    }
    names = "|".join(sorted(discovery.PORT_NAMES))
    relabel: list[Mapping[str, object]] = [
        {"source_labels": [f"{meta}_container_port_name"], "regex": names, "action": "keep"},
        {"source_labels": [f"{meta}_phase"], "regex": "Running", "action": "keep"},
    ]
    relabel += [{"source_labels": [source], "target_label": label} for label, source in labels.items()]
    found = {"role": "pod", "kubeconfig_file": str(kubeconfig)}
    return {"job_name": "pods", "kubernetes_sd_configs": [found], "relabel_configs": relabel}


def reload(base: str) -> None:
    """Reads settings and rules again. Raises urllib.error.HTTPError when Prometheus refuses them."""
    urllib.request.urlopen(urllib.request.Request(f"{base}/-/reload", method="POST"), timeout=10).close()
