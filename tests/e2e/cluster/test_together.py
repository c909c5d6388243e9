"""A bring-up fails at the first part that fails, and says which and where its log is."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from e2e.cluster import __main__ as command
from e2e.cluster import choose, local, locks
from e2e.cluster.config import ClusterError
from e2e.cluster.locks import locked
from e2e.cluster.phases import phase
from e2e.cluster.shell import MORTAL, CommandError, run, run_logged
from e2e.cluster.together import Halted, go_on, side_by_side


def silent(_: str) -> None:
    """Nobody listens."""


def test_both_parts_return() -> None:
    assert side_by_side(lambda: 1, lambda: "a") == (1, "a")


def test_the_first_failure_ends_the_compiler_beside_it(tmp_path: Path) -> None:
    """The program would run for ten minutes, which is what used to be waited for."""
    pid = tmp_path / "pid"
    begun = threading.Event()

    def compiling() -> None:
        begun.set()
        run_logged(*MORTAL, "sh", "-c", f"echo $$ >{pid}; exec sleep 600", log=tmp_path / "log")

    def refused() -> None:
        begun.wait()
        while not (pid.exists() and pid.read_text().strip()):
            threading.Event().wait(0.01)
        raise ClusterError("dpkg is locked")

    with pytest.raises(ClusterError, match="dpkg is locked"):
        side_by_side(compiling, refused)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_nothing_more_is_started_after_a_failure() -> None:
    failed = threading.Event()

    def refused() -> None:
        failed.set()
        raise ClusterError("refused")

    def going_on() -> None:
        failed.wait()
        while True:
            run("true")

    with pytest.raises(ClusterError, match="refused"):
        side_by_side(going_on, refused)
    go_on()  # outside of the parts nothing is halted


def test_a_package_manager_is_let_finish(tmp_path: Path) -> None:
    """What would not end with us is not killed half way: dpkg would be left with half of a package."""
    done, begun = tmp_path / "done", tmp_path / "begun"

    def installing() -> None:
        run("sh", "-c", f"touch {begun}; sleep 0.5; touch {done}")

    def refused() -> None:
        while not begun.exists():
            threading.Event().wait(0.01)
        raise ClusterError("refused")

    with pytest.raises(ClusterError, match="refused"):
        side_by_side(refused, installing)
    assert done.exists()


def test_who_waits_for_a_lock_is_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_path", lambda name: tmp_path / name)
    waiting = threading.Event()
    seen: list[BaseException] = []

    def building() -> None:
        try:
            with locked("build", lambda _: waiting.set()):
                raise AssertionError("the lock is another's")
        except Halted as error:
            seen.append(error)
            raise

    def refused() -> None:
        waiting.wait()
        raise ClusterError("refused")

    with locked("build", silent), pytest.raises(ClusterError, match="refused"):
        side_by_side(building, refused)
    assert len(seen) == 1


def test_images_that_are_refused_end_the_build_of_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    compiling = threading.Event()

    def programs(_: object) -> None:
        compiling.set()
        run_logged(*MORTAL, "sleep", "600", log=tmp_path / "build.log")

    def images(_: object) -> None:
        compiling.wait()
        with phase("installing buildah", silent):
            run_logged("sh", "-c", "echo locked by another apt; exit 100", log=tmp_path / "apt.log")

    monkeypatch.setattr(local, "_build_programs", programs)
    monkeypatch.setattr(local, "_build_images", images)
    with pytest.raises(CommandError) as failed:
        local.build_all(silent)
    assert failed.value.part == "installing buildah"
    assert str(failed.value).endswith(f"locked by another apt\nlog: {tmp_path / 'apt.log'}")


def test_the_command_names_part_and_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def up(_: str) -> None:
        with phase("keys", silent), phase("image runtime", silent):
            run_logged("false", log=tmp_path / "image.log")

    monkeypatch.setattr(choose, "up", up)
    assert command.main(["up"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: image runtime: false\nexited with 1:")
    assert said.rstrip().endswith(f"log: {tmp_path / 'image.log'}")
