"""What the local cluster takes from Debian."""

from __future__ import annotations

from collections.abc import Sequence

from .config import ClusterError, cache_root
from .locks import locked
from .progress import Say, phase, say
from .shell import run, run_logged, succeeds

NODE_PACKAGES = ("catatonit", "containerd", "containernetworking-plugins", "iproute2", "nftables", "runc")
IMAGE_PACKAGES = ("buildah", "ca-certificates", "debootstrap")
OBSERVER_PACKAGES = ("prometheus",)


def missing(packages: Sequence[str]) -> list[str]:
    """Those of `packages` that dpkg does not report as installed."""
    if not succeeds(run, "dpkg-query", "--version"):
        raise ClusterError("dpkg-query is not here: without a docker engine the cluster needs Debian 12")
    return [name for name in packages if not _installed(name)]


def _installed(name: str) -> bool:
    return succeeds(run, "sh", "-c", 'test "$(dpkg-query -W -f "\\${db:Status-Status}" "$1")" = installed', "sh", name)


def install(packages: Sequence[str], tell: Say = say) -> None:
    """Installs the missing ones by name; none of their services is started."""
    with locked("apt"):
        wanted = missing(packages)
        if not wanted:
            return
        log = cache_root() / "log" / "apt.log"
        # In runlevel 1 the maintainer scripts start no daemon: the cluster starts its own with its own settings.
        quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        with phase(f"installing {' '.join(wanted)}", tell):
            run("apt-get", "update", "-qq", env=quiet)
            run_logged("apt-get", "install", "-y", "-q", "--no-install-recommends", *wanted, log=log, env=quiet)
