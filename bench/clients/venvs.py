"""An environment for each client, kept outside of the tree and found again by what is in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from bench.clients.client import Client

ROOT = Path(__file__).parents[2]
_LIGHTNING = "lightning==2.6.6"
# What Thunderhead itself needs, so that it can run in there from this tree.
_BASE = (_LIGHTNING, "torch==2.13.0", "pydantic>=2.11,<3", "pyyaml>=6", "safetensors>=0.5", "pytest", "pytest-timeout")
_PTH = "thunderhead_clients.pth"


def cache() -> Path:
    """Where they lie."""
    return Path(os.environ.get("THUNDERHEAD_CACHE", Path.home() / ".cache/thunderhead")) / "clients"


def environment(client: Client) -> Path:
    """The Python of the client's environment, made where there is none yet.

    Raises:
        subprocess.CalledProcessError: something cannot be installed.
    """
    wanted = (*_BASE, *client.requirements)
    key = hashlib.sha256("\n".join((sys.version, *wanted)).encode()).hexdigest()[:12]
    home = cache() / f"{client.name}-{key}"
    python = home / "bin/python"
    if not (home / ".complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        _uv("venv", "-q", "--python", sys.executable, str(home))
        links = [
            found for folder in (ROOT.parent / "shared/wheels",) if folder.is_dir() for found in ("-f", str(folder))
        ]
        _uv("pip", "install", "-q", "--python", str(python), *links, *wanted)
        (home / ".complete").touch()
    _point_at_this_tree(python)
    return python


def source(client: Client, version: str) -> Path:
    """The unpacked source distribution of a version, with the client's own tests."""
    home = cache() / "sources" / f"{client.package}-{version}"
    if not home.exists():
        download, unpacked = home.with_name(f"{home.name}.download"), home.with_name(f"{home.name}.unpacked")
        options = ("--no-deps", "--no-binary", client.package, "-d", str(download))
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", *options, f"{client.package}=={version}"], check=True
        )
        (archive,) = download.glob("*.tar.gz")
        shutil.rmtree(unpacked, ignore_errors=True)
        with tarfile.open(archive) as opened:
            opened.extractall(unpacked, filter="data")
        (inner,) = unpacked.iterdir()
        inner.rename(home)
    return home


def _point_at_this_tree(python: Path) -> None:
    """Let its Python find this tree, and do as the file of the distribution does that reads THUNDERHEAD_COMPAT."""
    (site,) = (python.parents[1] / "lib").glob("python*/site-packages")
    switch = (ROOT / "runtime/thunderhead_compat.pth").read_text()
    (site / _PTH).write_text(f"{ROOT / 'runtime'}\n{ROOT / 'crds'}\n{switch}")


def _uv(*arguments: str) -> None:
    subprocess.run([Path(sys.executable).parent / "uv", *arguments], check=True)
