"""Images that docker builds get the host's index and authorities, as those that buildah builds do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from e2e.cluster import kind, pypi
from e2e.cluster.config import REPOSITORY

INSTALLS = "pip install --quiet --no-cache-dir uv=="


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setenv("THUNDERHEAD_CACHE", str(tmp_path))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://index.example/simple")
    bundle = tmp_path / "bundle.crt"
    bundle.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with pypi.host_settings() as files:
        assert files["ca"] == bundle
        assert "index-url = https://index.example/simple" in files["pip"].read_text()
        assert 'index-url = "https://index.example/simple"' in files["uv"].read_text()
        return files


def test_docker_is_given_every_file(settings: dict[str, Path]) -> None:
    command = [str(word) for word in kind._build_command("runtime", "image:1", settings, Path("/wheels"))]
    given = [command[index + 1] for index, word in enumerate(command) if word == "--secret"]
    assert given == [f"id={name},src={settings[name]}" for name in pypi.PLACES]
    assert "wheels=/wheels" in command
    assert "--build-context" not in kind._build_command("runtime", "image:1", settings, None)


def test_the_dockerfile_puts_them_where_an_installer_looks() -> None:
    """Each step that reaches for an index names all of them; none is required."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", "")
    steps = [step for step in re.findall(r"^RUN .*", text, re.MULTILINE) if INSTALLS in step]
    assert len(steps) == 3
    for step in steps:
        for name, place in pypi.PLACES.items():
            assert f"--mount=type=secret,id={name},target={place},mode=0444" in step
        assert "required" not in step
