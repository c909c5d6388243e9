"""What the local cluster takes from Debian."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .config import ClusterError, cache_root
from .locks import locked
from .phases import Say, phase, say
from .shell import CommandError, run, run_logged, succeeds

NODE_PACKAGES = ("catatonit", "containerd", "containernetworking-plugins", "iproute2", "nftables", "runc")
IMAGE_PACKAGES = ("buildah", "ca-certificates", "debootstrap")
OBSERVER_PACKAGES = ("prometheus",)

_PATIENCE_S = 300
"""Another apt at work, such as the system's daily one, is waited for and not taken for a failure."""


def missing(packages: Sequence[str]) -> list[str]:
    """Those of `packages` that dpkg does not report as installed."""
    if not succeeds(run, "dpkg-query", "--version"):
        raise ClusterError("dpkg-query is not here: without a docker engine the cluster needs Debian 12")
    return [name for name in packages if not _installed(name)]


def _installed(name: str) -> bool:
    return succeeds(run, "sh", "-c", 'test "$(dpkg-query -W -f "\\${db:Status-Status}" "$1")" = installed', "sh", name)


def install(packages: Sequence[str], tell: Say = say) -> None:
    """Installs the missing ones by name; none of their services is started."""
    with locked("apt", tell):
        wanted = missing(packages)
        if not wanted:
            return
        log = cache_root() / "log" / "apt.log"
        # In runlevel 1 the maintainer scripts start no daemon: the cluster starts its own with its own settings.
        quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        with phase(f"installing {' '.join(wanted)}", tell):
            _update(log.with_name("apt-update.log"), quiet, tell)
            patient = ("-o", f"DPkg::Lock::Timeout={_PATIENCE_S}")
            options = ("-y", "-q", "--no-install-recommends")
            run_logged("apt-get", *patient, "install", *options, *wanted, log=log, env=quiet)


def _update(log: Path, env: Mapping[str, str], tell: Say, *, pause_s: float = 2) -> None:
    """Renews the lists. Of their lock apt's own patience, which is for dpkg's locks, knows nothing."""
    deadline, told = time.monotonic() + _PATIENCE_S, False
    while True:
        try:
            run_logged("apt-get", "update", "-q", log=log, env=env)
        except CommandError as error:
            if "Could not get lock" not in error.said or time.monotonic() > deadline:
                raise
            if not told:
                tell("cluster: waiting for another apt to let go of its lists …")
            told = True
            time.sleep(pause_s)
        else:
            return
