"""The host's choice of package index and of certificate authorities, as files for a build inside a container."""

from __future__ import annotations

import json
import os
import re
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .config import ClusterError
from .scratch import scratch
from .shell import run

_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
"""Where Debian keeps its certificate authorities, in the base images as on the host."""
PLACES: Mapping[str, Path] = {"ca": _BUNDLE, "pip": Path("/etc/pip.conf"), "uv": Path("/etc/uv/uv.toml")}
"""Where a build has to find each file, by the name of the Dockerfile's secret."""
_ENVIRONMENT = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")


@contextmanager
def host_settings() -> Iterator[dict[str, Path]]:
    """The files, by the names of :data:`PLACES`, for the time of one build."""
    with scratch("settings") as directory:
        files = {"ca": _host_bundle(), "pip": directory / "pip.conf", "uv": directory / "uv.toml"}
        files["pip"].write_text(pip_settings(_BUNDLE))
        files["uv"].write_text(uv_settings())
        yield files


def _host_bundle() -> Path:
    chosen = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or str(_BUNDLE)
    for candidate in (Path(chosen), _BUNDLE):
        if candidate.is_file():
            return candidate
    raise ClusterError(f"no file of certificate authorities at {chosen} or {_BUNDLE}: install ca-certificates")


def pip_settings(bundle: Path) -> str:
    """A pip.conf: the host's index, if it names one, and certificate authorities from `bundle`."""
    lines = ["[global]", f"cert = {bundle}", "disable-pip-version-check = true"]
    lines += [f"index-url = {index}" for index in _index()]
    lines += [f"trusted-host = {host}" for host in _pip_configured("trusted-host")]
    return "\n".join(lines) + "\n"


def uv_settings() -> str:
    """A uv.toml with the same index, trusting the system's authorities."""
    return "system-certs = true\n" + "".join(f"index-url = {json.dumps(index)}\n" for index in _index())


def _index() -> list[str]:
    chosen = [os.environ[name] for name in _ENVIRONMENT if os.environ.get(name)]
    return (chosen or _pip_configured("index-url"))[:1]


def _pip_configured(key: str) -> list[str]:
    said = run(sys.executable, "-m", "pip", "config", "list")
    return re.findall(rf"^\S*\.{re.escape(key)}='(.*)'$", said, re.MULTILINE)
