"""Where nothing can be written, the error names the argument, the reason and the remedy, and is still the system's."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from thunderhead.files.places import LOCAL
from thunderhead.files.writable import Destination


def destination(path: Path) -> Destination:
    """As a callback describes it."""
    return Destination(str(path), f"Saving(dirpath={str(path)!r})", "checkpoints")


@pytest.mark.parametrize(
    ("number", "kind", "rule"),
    [
        (errno.EACCES, PermissionError, rf"user {os.geteuid()} may not write to '/a'; give a directory that it may"),
        (errno.EPERM, PermissionError, r"may not write to '/a'; give"),
        (errno.EROFS, OSError, r"'/a' is on a file system that can only be read from; give a directory on another"),
        (errno.ENOSPC, OSError, r"no space is left for '/a'; free some, or give a directory on another file system"),
        (errno.EDQUOT, OSError, r"no space is left for '/a'"),
        (errno.EIO, OSError, r"no file can be made in '/a' \(Input/output error\); give another directory"),
    ],
)
def test_what_the_system_says_in_words(number: int, kind: type[OSError], rule: str) -> None:
    with (
        pytest.raises(kind, match=rf"^Saving\(dirpath='/d'\): checkpoints cannot be written: .*{rule}") as caught,
        destination(Path("/d")).naming(),
    ):
        raise OSError(number, os.strerror(number), "/a")
    assert caught.value.errno == number


def test_an_error_that_speaks_for_itself_is_kept_with_a_note() -> None:
    with pytest.raises(OSError, match=r"^the bucket is gone\n") as caught, destination(Path("/d")).naming():
        raise OSError("the bucket is gone")
    assert caught.value.__notes__ == ["Saving(dirpath='/d') decides where checkpoints go"]


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_file_where_a_directory_should_be(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=rf"'{tmp_path}/file' is a file, not a directory; give another"):
        destination(tmp_path / "file" / below).check()


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=rf"no file can be made in '{tmp_path}/link'"):
        destination(tmp_path / "link" / "sub").check()


def test_a_directory_that_takes_no_files_even_of_root() -> None:
    with pytest.raises(OSError, match=r"no file can be made in '/proc' \(No such file or directory\)"):
        destination(Path("/proc/x")).check()


def test_a_full_disk_is_found_by_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It still takes an empty file."""
    full = tmp_path / "full"
    full.mkdir()
    device = os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", 0)

    def open_full(path: Any, *_: Any, **__: Any) -> Any:
        Path(path).touch()
        return device

    monkeypatch.setattr("builtins.open", open_full)
    with pytest.raises(OSError, match=rf"no space is left for '{full}'") as caught:
        destination(full / "sub").check()
    assert caught.value.errno == errno.ENOSPC
    assert list(full.iterdir()) == []


def test_checking_leaves_nothing_and_makes_nothing(tmp_path: Path) -> None:
    destination(tmp_path / "a" / "b").check()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_says_of_which_file(tmp_path: Path) -> None:
    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/a'"):
        LOCAL.write(str(tmp_path / "a"), full)
    assert list(tmp_path.iterdir()) == []
