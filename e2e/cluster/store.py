"""containerd's image stores: one is prepared with everything that is large, and each node begins with a clone of it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .build import KEPT_BUILDS, digest, prune
from .config import ClusterError, cache_root
from .layers import StoredImage, write_archive
from .locks import locked
from .node import PAUSE_IMAGE, Node, containerd_settings
from .pause import pause_archive
from .phases import Say, phase, say
from .shell import CONTAINED, Argument, run

_IMPORT = """
set -e
mount -n -t tmpfs tmpfs /run
containerd -c "$1" >"$2" 2>&1 &
until ctr version >/dev/null 2>&1; do sleep 0.1; kill -0 $!; done
ctr --namespace k8s.io images import "$3"
ctr --namespace k8s.io images import -
kill $!
wait $! || true
"""


_SNAPSHOTTER = "io.containerd.snapshotter.v1.overlayfs"
_BLOBS = "io.containerd.content.v1.content/blobs/sha256"
_ORIGIN = "store"


def prepared_store(images: Sequence[StoredImage], clusters: Path, tell: Say = say) -> Path:
    """A containerd root that has these images' layers unpacked; made first unless one with all but the last layers is
    in the cache, for the last ones hold our own code and are small enough to be sent to each node."""
    key = digest([run("containerd", "--version"), *(layer.chain for image in images for layer in image.layers[:-1])])
    home = cache_root() / "stores" / f"store-{key}"
    with locked("stores", tell):
        if not home.exists():
            with phase("image store", tell):
                _fill(home, images)
            prune(home.parent, "store-", keep=KEPT_BUILDS, spared=stores_in_use(clusters))
        os.utime(home)
    return home / "containerd"


def clone(store: Path, node_home: Path) -> None:
    """Gives a node a store of its own that begins with the images of the prepared one.

    The unpacked layers, which nothing ever writes to, are not copied: the node's snapshots lead to the prepared ones.
    """
    target = node_home / "containerd"
    (node_home / _ORIGIN).symlink_to(store.parent)
    for source in store.glob("*/*.db"):
        database = target / source.relative_to(store)
        database.parent.mkdir(parents=True)
        shutil.copyfile(source, database)
    for source in (store / _BLOBS).iterdir():
        _link_or_copy(source, target / _BLOBS / source.name)
    for source in (store / _SNAPSHOTTER / "snapshots").iterdir():
        snapshot = target / _SNAPSHOTTER / "snapshots" / source.name
        (snapshot / "work").mkdir(parents=True)
        (snapshot / "fs").symlink_to(source / "fs")


def stores_in_use(clusters: Path) -> set[Path]:
    """Prepared stores that nodes of some cluster lead to."""
    return {link.resolve() for link in clusters.glob(f"*/*/{_ORIGIN}")}


def load(node: Node, images: Sequence[StoredImage]) -> None:
    """Imports into a running node what it lacks of these images."""
    ctr = ("ctr", "--namespace", "k8s.io")
    names = node.enter(*ctr, "images", "list", "--quiet").split()
    wanted = [image for image in images if image.name not in names]
    if wanted:
        known = {line.split()[0] for line in node.enter(*ctr, "snapshots", "list").splitlines()[1:]}
        command = [*node.entering(), *ctr, "images", "import", "-"]
        _feed(command, write_archive(wanted, known))


def _link_or_copy(source: Path, target: Path) -> None:
    """Blobs are never written to, so a link is as good, where both are on one disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(source, target)


def _fill(home: Path, images: Sequence[StoredImage]) -> None:
    unfinished = home.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    settings, pause = unfinished / "containerd.toml", unfinished / "pause.tar"
    settings.write_text(containerd_settings(unfinished, cni=unfinished))
    pause.write_bytes(pause_archive(PAUSE_IMAGE))
    script = ("sh", "-c", _IMPORT, "import", settings, unfinished / "containerd.log", pause)
    _feed([*CONTAINED, *script], write_archive(images, ()))
    unfinished.rename(home)


def _feed(command: Sequence[Argument], chunks: Iterable[bytes] | Iterator[bytes]) -> None:
    """Runs a command with a stream as its input."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            for chunk in chunks:
                process.stdin.write(chunk)
            process.stdin.close()
        except BrokenPipeError:
            pass  # the command ended early; what it said says why
        said = process.stderr.read().decode(errors="replace")
    if process.returncode != 0:
        raise ClusterError(f"importing images failed with status {process.returncode}: {said[-2000:]}")
