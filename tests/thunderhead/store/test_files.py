"""What only a file system can do to us."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from thunderhead.job.errors import StorageRefused
from thunderhead.store.files import FileStore
from thunderhead.store.objects import Unavailable, Upload


def test_an_unfinished_write_is_no_object_and_can_be_abandoned(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put("shards/1/a", b"whole")
    (tmp_path / "shards/1/.unfinished-0123").write_bytes(b"ha")
    (tmp_path / "shards/2").mkdir()
    (tmp_path / "shards/2/.unfinished-4567").write_bytes(b"")
    assert [info.key for info in store.scan()] == ["shards/1/a"]
    assert store.uploads("shards/2/") == [Upload("shards/2/.unfinished-4567", "shards/2/.unfinished-4567")]
    for upload in store.uploads("shards/"):
        store.abandon(upload)
        store.abandon(upload)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["1", "a", "shards"]


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exclusive: bool) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left on device"):
        FileStore(tmp_path).put("k", b"x", if_none_match=exclusive)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_what_only_an_administrator_can_change_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def deny(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", deny)
    with pytest.raises(StorageRefused, match=r"write of file://.*/k failed: .*must be writable by user \d+"):
        FileStore(tmp_path).put("k", b"x", if_none_match=True)


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageRefused, match="Not a directory"):
        FileStore(tmp_path / "file").put("k", b"x")


def test_writers_and_deleters_of_one_folder_do_not_trip_over_each_other(tmp_path: Path) -> None:
    """Deleting the last object removes the folder, which another writer may be about to use."""
    store = FileStore(tmp_path)
    failures: list[BaseException] = []

    def churn(name: str) -> None:
        try:
            for _ in range(150):
                store.put(f"shards/1/{name}", b"x")
                assert store.get(f"shards/1/{name}") == b"x"
                store.delete(f"shards/1/{name}")
        except BaseException as error:  # noqa: BLE001 - reported by the test
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(tmp_path.iterdir()) == []


def test_a_new_name_is_flushed_with_every_folder_that_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.readlink(f"/proc/self/fd/{fd}")))
    FileStore(tmp_path).put("a/b/c", b"x")
    flushed = [path if ".unfinished" not in path else "content" for path in flushed]
    assert flushed == [str(tmp_path), str(tmp_path / "a"), "content", str(tmp_path / "a/b")]
