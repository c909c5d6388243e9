"""Building images without a docker engine, in a storage of our own below the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .pypi import PLACES, host_settings
from .shell import CONTAINED, Argument, CommandError, remove_empty, run, run_logged

_REGISTRY_CACHE = Path("/var/lib/containers")
# What is mounted is written down in the run directory. Both last for one command, so they cannot disagree.
# What buildah remembers of registries has a fixed place on the host, and is not wanted there.
_MOUNT_AND_EXEC = f"""
set -e
mount -n -t tmpfs tmpfs "$0"
mkdir -p {_REGISTRY_CACHE}
mount -n -t tmpfs tmpfs {_REGISTRY_CACHE}
exec buildah --runroot "$0" "$@"
"""


class Buildah:
    """The `buildah` program with one storage. Steps run in a chroot, for which root needs no more than it has."""

    def __init__(self, home: Path) -> None:
        self.storage = home / "storage"
        run_root = home / "run"
        self._buildah: tuple[Argument, ...] = (
            *CONTAINED, "sh", "-c", _MOUNT_AND_EXEC, run_root, "--root", self.storage, "--storage-driver", "overlay",
        )  # fmt: skip
        self._env = {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(home / "tmp")}
        for directory in (run_root, home / "tmp"):
            directory.mkdir(parents=True, exist_ok=True)

    def has(self, image: str) -> bool:
        try:
            self._run("inspect", "--type", "image", image)
        except CommandError:
            return False
        return True

    def commit_directory(self, root: Path, image: str) -> None:
        """Makes an image of one layer that holds what is in `root`."""
        container = self._run("from", "scratch").strip()
        try:
            self._run("add", "--quiet", container, root, "/")
            self._run("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
            self._run("commit", "--quiet", container, image)
        finally:
            self._run("rm", container)

    def build(
        self, context: Path, target: str, image: str, *, arguments: Mapping[str, str], wheels: Path | None, log: Path
    ) -> None:
        """Builds one target of the Dockerfile in `context`, with the package index and the authorities of the host."""
        with host_settings() as settings:
            mounts: list[Argument] = []
            for name, file in settings.items():
                mounts += ["--volume", f"{file}:{PLACES[name]}:ro"]
            options = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
            if wheels is not None:
                options += ["--build-context", f"wheels={wheels}"]
            self._logged(
                log, "build", "--layers", "--pull-never", "--network", "host",
                "--target", target, "--tag", image, *options, *mounts, context,
            )  # fmt: skip

    def remove_unfinished(self) -> None:
        """Removes what builds left that were killed."""
        self._run("rm", "--all")

    def names(self) -> list[str]:
        """Every named image, newest first."""
        said = self._run("images", "--format", "{{.Name}}:{{.Tag}}")
        return [name for name in said.split() if "<none>" not in name]

    def remove(self, images: Sequence[str]) -> None:
        """Removes images, and the layers that no other image needs."""
        for image in images:
            self._run("rmi", image)

    def remove_unnamed(self, *, above: int) -> None:
        """Forgets the results of single build steps once there are more than `above` of them."""
        if len(self._run("images", "--quiet", "--filter", "dangling=true").split()) > above:
            self._run("rmi", "--prune")

    def _run(self, *words: Argument) -> str:
        try:
            return run(*self._buildah, *words, env=self._env)
        finally:
            remove_empty(_REGISTRY_CACHE)

    def _logged(self, log: Path, *words: Argument) -> None:
        try:
            run_logged(*self._buildah, *words, log=log, env=self._env)
        finally:
            remove_empty(_REGISTRY_CACHE)
