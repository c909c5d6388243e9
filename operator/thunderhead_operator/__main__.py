"""``python -m thunderhead_operator``: the operator for a real cluster."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from thunderhead_api.extras import MissingExtra, require
from thunderhead_api.treaty import ExitCode
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.policy import Policy, parse_policy

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="thunderhead-operator", description="Runs TrainingJobs on Kubernetes.")
    add = result.add_argument
    add("--namespace", action="append", default=[], metavar="NAME", help="work in this namespace only; repeatable")
    add("--runtime-image", required=True, help="image of jobs that name none")
    add("--metrics-port", type=int, default=9090, help="port of /metrics (default %(default)s)")
    add("--health-port", type=int, default=8080, help="port of /healthz (default %(default)s)")
    add("--lease-namespace", default=None, help="namespace of the Lease (default: our own)")
    add("--lease-name", default="thunderhead-operator", help="name of the Lease (default %(default)s)")
    add(
        "--policy",
        default=None,
        metavar="JSON",
        help='what podTemplate may ask for: {"allow": […], "serviceAccounts": […]}',
    )
    add("--agent-peers", default=None, metavar="JSON", help="NetworkPolicyPeers that may reach agents, a JSON list")
    add(
        "--node-loss-toleration-seconds",
        type=int,
        default=Config.node_loss_toleration_s,
        metavar="N",
        help="how long pods stay on a node that Kubernetes calls unreachable (default %(default)s)",
    )
    add("--runtime-pull-policy", default=None, choices=["Always", "IfNotPresent", "Never"], help="of the runtime image")
    add("--runtime-pull-secret", action="append", default=[], metavar="NAME", help="to pull it with; repeatable")
    add("--workers", type=int, default=8, help="jobs worked on at once (default %(default)s)")
    add(
        "--api-qps", type=float, default=0.0, help="calls a second to the API server, 0: no limit (default %(default)s)"
    )
    add("--api-burst", type=int, default=100, help="calls at once above it (default %(default)s)")
    add("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    add("--log-format", default="json", choices=["json", "text"])
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal ends it. Imports of the shell wait until the command line is known to be right."""
    options = parser().parse_args(argv)
    try:
        require("thunderhead_operator", "operator")
    except MissingExtra as error:
        print(error, file=sys.stderr)
        return int(ExitCode.INVALID_CONFIGURATION)
    config = _config(options)
    _set_up_logging(options.log_level, options.log_format)
    from thunderhead_operator.kopfio.shell import Options, Shell, default_identity

    wanted = Options(
        config=config,
        namespaces=tuple(options.namespace),
        lease_namespace=options.lease_namespace or _own_namespace(),
        lease_name=options.lease_name,
        identity=default_identity(),
        metrics_port=options.metrics_port,
        health_port=options.health_port,
        workers=options.workers,
        api_qps=options.api_qps,
        api_burst=options.api_burst,
    )

    async def run() -> None:
        await Shell(wanted).run()

    asyncio.run(run())
    return 0


def _config(options: argparse.Namespace) -> Config:
    given: dict[str, Any] = {
        "runtime_image": options.runtime_image,
        "runtime_pull_policy": options.runtime_pull_policy,
        "runtime_pull_secrets": tuple(options.runtime_pull_secret),
        "node_loss_toleration_s": options.node_loss_toleration_seconds,
    }
    if options.policy is not None:
        given["policy"] = _policy(options.policy)
    if options.agent_peers is not None:
        given["agent_peers"] = _peers(options.agent_peers)
    return Config(**given)


def _policy(text: str) -> Policy:
    try:
        return parse_policy(json.loads(text))
    except ValueError as error:
        raise SystemExit(f"--policy {text!r}: {error}") from error


def _peers(text: str) -> tuple[dict[str, Any], ...]:
    try:
        peers = json.loads(text)
    except ValueError:
        peers = None
    if not isinstance(peers, list) or not all(isinstance(peer, dict) for peer in peers):
        parser().error(f"--agent-peers {text!r} is no JSON list of objects (NetworkPolicyPeer)")
    return tuple(peers)


def _own_namespace() -> str:
    try:
        with open(_SERVICE_ACCOUNT) as file:
            return file.read().strip()
    except OSError:
        return os.environ.get("POD_NAMESPACE", "default")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """See the base class."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)


def _set_up_logging(level: str, style: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if style == "json" else text)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("kopf", "aiohttp.access"):  # the one per event, the other per probe
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))


if __name__ == "__main__":
    sys.exit(main())
