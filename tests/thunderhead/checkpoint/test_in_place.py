"""What takes a path's place: whole, at once, whatever was there, and whoever died there before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from thunderhead.files import in_place


def a_file(path: Path, text: str) -> None:
    path.write_text(text)


def a_directory(path: Path, text: str) -> None:
    path.mkdir()
    (path / "part").write_text(text)


def a_link(path: Path, text: str) -> None:
    target = path.with_name(f"{text}.target")
    target.write_text(text)
    path.symlink_to(target.name)


def a_link_to_a_directory(path: Path, text: str) -> None:
    a_directory(path.with_name(f"{text}.target"), text)
    path.symlink_to(f"{text}.target")


KINDS = {"file": a_file, "directory": a_directory, "link": a_link, "link to a directory": a_link_to_a_directory}
Make = Callable[[Path, str], None]


def content(path: Path) -> str:
    return (path / "part" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "one after the other"])
@pytest.mark.parametrize("there", [*KINDS, "nothing"])
@pytest.mark.parametrize("new", KINDS)
def test_it_takes_the_place_of_anything(
    tmp_path: Path, new: str, there: str, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(in_place, "_exchanged", lambda one, other: False)
    path = tmp_path / "x.ckpt"
    if there != "nothing":
        KINDS[there](path, "old")
    KINDS[new](written := Path(in_place.beside(str(path))), "new")
    in_place.put_in_place(str(written), str(path))
    assert content(path) == "new"
    assert path.is_symlink() == new.startswith("link")
    assert [entry for entry in os.listdir(tmp_path) if entry.startswith(".")] == []
    if there.startswith("link"):
        assert content(tmp_path / "old.target") == "old", "of a link, the link"


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="names can be exchanged on Linux only")
@pytest.mark.parametrize("there", ["file", "directory"])
def test_there_is_no_moment_without_one(tmp_path: Path, there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies where it would remove the old one: the new one is whole by then, and nothing was missing."""

    class Died(BaseException):
        pass

    def die(path: str) -> None:
        raise Died

    def no_rename(*names: str) -> None:
        raise AssertionError(f"{names}: nothing is there for a moment")

    path = tmp_path / "x.ckpt"
    KINDS[there](path, "old")
    a_directory(written := Path(in_place.beside(str(path))), "new")
    monkeypatch.setattr(in_place, "remove", die)
    monkeypatch.setattr(os, "rename", no_rename)
    with pytest.raises(Died):
        in_place.put_in_place(str(written), str(path))
    assert content(path) == "new"
    monkeypatch.undo()
    # What it left behind goes with the next.
    a_directory(again := Path(in_place.beside(str(path))), "newer")
    in_place.put_in_place(str(again), str(path))
    assert (content(path), os.listdir(tmp_path)) == ("newer", ["x.ckpt"])


def test_what_cannot_take_it_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_place, "_exchanged", lambda one, other: False)
    a_directory(tmp_path / "x.ckpt", "old")
    with pytest.raises(FileNotFoundError):
        in_place.put_in_place(str(tmp_path / ".x.ckpt.00000000"), str(tmp_path / "x.ckpt"))
    assert content(tmp_path / "x.ckpt") == "old"


def test_others_files_stay(tmp_path: Path) -> None:
    for name in (".y.ckpt.01234567", ".x.ckpt.0123456", ".x.ckpt.save", "x.ckpt.01234567"):
        a_file(tmp_path / name, name)
    a_file(written := Path(in_place.beside(str(tmp_path / "x.ckpt"))), "new")
    in_place.put_in_place(str(written), str(tmp_path / "x.ckpt"))
    assert len(os.listdir(tmp_path)) == 5
