"""The command line: `python -m e2e.cluster up`, `down` and what lies between."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import build, choose
from .config import ClusterError, chosen_name


def main(words: Sequence[str]) -> int:
    arguments = _parse(words)
    try:
        return _COMMANDS[arguments.command](arguments)
    except ClusterError as error:
        print(f"error: {f'{error.part}: ' if error.part else ''}{error}", file=sys.stderr)
        return 1


def _up(_: argparse.Namespace) -> int:
    cluster, images = choose.up(chosen_name())
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    print(f"export PATH={cluster.kubectl.parent}:{cluster.helm.parent}:$PATH")
    print(f"# images {' '.join(images.names())}")
    print(f"# S3 {cluster.s3.endpoint} · Prometheus {cluster.prometheus_url}")
    return 0


def _build(_: argparse.Namespace) -> int:
    choose.build_all()
    return 0


def _down(_: argparse.Namespace) -> int:
    choose.down(chosen_name())
    return 0


def _tool(arguments: argparse.Namespace) -> int:
    print(build.build(arguments.name))
    return 0


def _fault(arguments: argparse.Namespace) -> int:
    cluster = choose.required(chosen_name())
    getattr(cluster, arguments.fault.replace("-", "_"))(arguments.node)
    return 0


def _kubectl(arguments: argparse.Namespace) -> int:
    cluster = choose.required(chosen_name())
    os.execve(cluster.kubectl, ["kubectl", *arguments.words], {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)})


_COMMANDS = {"build": _build, "up": _up, "down": _down, "tool": _tool, "fault": _fault, "kubectl": _kubectl}
_FAULTS = ("power-cut", "power-on", "freeze", "thaw", "unplug", "plug")


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build what a cluster needs, and start nothing")
    commands.add_parser("up", help="start the cluster, or mend the one that runs")
    commands.add_parser("down", help="end it and remove every trace")
    tool = commands.add_parser("tool", help="build a program and print the directory it is in")
    tool.add_argument("name", choices=sorted(build.programs()))
    fault = commands.add_parser("fault", help="let something befall a node")
    fault.add_argument("fault", choices=_FAULTS)
    fault.add_argument("node")
    commands.add_parser("kubectl", help="kubectl with the cluster's own settings", add_help=False, prefix_chars="\0")
    arguments, rest = parser.parse_known_args(words)
    if rest and arguments.command != "kubectl":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.words = rest
    return arguments


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
