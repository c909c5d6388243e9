"""A build inside a container uses the host's package index, and none is written down anywhere."""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path

import pytest

from e2e.cluster import pypi

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_SAYS = ":env:.cert='/some/bundle.crt'\nglobal.index-url='https://index.example/simple'\nsite.timeout='60'\n"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A host that has configured nothing."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pypi, "run", lambda *_: "")
    return monkeypatch


def settings() -> tuple[dict[str, str], dict[str, object]]:
    pip = configparser.ConfigParser()
    pip.read_string(pypi.pip_settings(BUNDLE))
    return dict(pip["global"]), tomllib.loads(pypi.uv_settings())


def test_nothing_configured(host: pytest.MonkeyPatch) -> None:
    pip, uv = settings()
    assert pip == {"cert": str(BUNDLE), "disable-pip-version-check": "true"}
    assert uv == {"system-certs": True}


def test_an_index_of_pip(host: pytest.MonkeyPatch) -> None:
    host.setattr(pypi, "run", lambda *_: PIP_SAYS)
    pip, uv = settings()
    assert pip["index-url"] == uv["index-url"] == "https://index.example/simple"


def test_the_environment_wins(host: pytest.MonkeyPatch) -> None:
    host.setattr(pypi, "run", lambda *_: PIP_SAYS)
    host.setenv("PIP_INDEX_URL", "https://pip.example/simple")
    host.setenv("UV_DEFAULT_INDEX", "https://uv.example/simple")
    pip, uv = settings()
    assert pip["index-url"] == uv["index-url"] == "https://uv.example/simple"
