"""Installing from Debian beside another apt at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.cluster import locks, packages
from e2e.cluster.shell import CommandError

LOCKED = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What was run; nothing is installed."""
    ran: list[tuple[object, ...]] = []
    monkeypatch.setattr(locks, "_path", lambda name: tmp_path / name)
    monkeypatch.setattr(packages, "missing", list)
    monkeypatch.setattr(packages, "run_logged", lambda *words, **_: ran.append(words))
    return ran


def test_dpkg_locks_are_waited_for(apt: list[tuple[object, ...]]) -> None:
    packages.install(["buildah"], lambda _: None)
    assert [words[-2] if "install" not in words else "install" for words in apt] == ["update", "install"]
    assert apt[-1][:3] == ("apt-get", "-o", "DPkg::Lock::Timeout=300")


@pytest.mark.parametrize(("said", "tries"), [(LOCKED, 3), ("E: no network", 1)])
def test_the_lists_of_another_apt_are_waited_for(said: str, tries: int) -> None:
    told: list[str] = []
    ran: list[object] = []

    def run_logged(*words: str, **_: object) -> None:
        ran.append(words)
        if len(ran) < 3:
            raise CommandError(words, 100, said)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packages, "run_logged", run_logged)
        if tries == 3:
            packages._update(Path("log"), {}, told.append, pause_s=0)
        else:
            with pytest.raises(CommandError, match="no network"):
                packages._update(Path("log"), {}, told.append, pause_s=0)
    assert len(ran) == tries
    assert told == (["cluster: waiting for another apt to let go of its lists …"] if tries == 3 else [])
