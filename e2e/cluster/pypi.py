"""The host's choice of package index, as settings for a build inside a container."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from .shell import run

_ENVIRONMENT = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")


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
