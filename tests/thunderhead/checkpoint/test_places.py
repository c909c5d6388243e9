"""Files at every kind of path behave alike: whole or not at all, listed, removed, and told apart by their time."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from thunderhead.exceptions import MisconfigurationException
from thunderhead.files import file
from thunderhead.files.places import LOCAL, is_url, lies_in, normal, same
from thunderhead.files.schemes import place_of
from thunderhead.files.urls import RefusedByStorage
from thunderhead.store.s3 import S3Store
from thunderhead.store.s3_stream import writing


def put(path: str, content: bytes) -> None:
    """Write it."""
    place_of(path).write(path, lambda stream: stream.write(content))


@pytest.fixture(params=["local", "file", "s3", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A directory of every kind that can be written to."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/some where/a#b"
    if request.param == "memory":
        return f"memory://{tmp_path.name}"
    return f"{'file://' if request.param == 'file' else ''}{tmp_path}/made"


def test_a_file_comes_and_goes(root: str) -> None:
    path, place = f"{root}/deep/a.ckpt", place_of(root)
    assert not place.exists(path)
    assert place.names(root) == []
    place.remove(path)
    put(path, b"one")
    put(path, b"two")
    put(f"{root}/b.ckpt", b"")
    with place.read(path) as stream:
        assert stream.read() == b"two"
        stream.seek(1)
        assert stream.read(1) == b"w"
    assert place.exists(path)
    assert place.names(root) == ["b.ckpt", "deep"]
    assert place.is_directory(root)
    assert not place.is_directory(path)
    assert abs(place.modified(path) - os.stat(".").st_mtime) < 1e6
    place.check(root)
    assert place.names(root) == ["b.ckpt", "deep"]
    place.remove(f"{root}/deep")
    assert place.names(root) == ["b.ckpt"]
    with pytest.raises(FileNotFoundError):
        place.read(path)


def test_what_fails_half_way_leaves_the_old_file(root: str) -> None:
    path = f"{root}/a.ckpt"
    put(path, b"old")

    def failing(stream: Any) -> None:
        stream.write(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        place_of(path).write(path, failing)
    with place_of(path).read(path) as stream:
        assert stream.read() == b"old"
    assert place_of(root).names(root) == ["a.ckpt"]


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    before = os.umask(0o022)
    put(f"{tmp_path}/a", b"")
    os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o644


def test_the_error_that_broke_a_write_is_the_one_that_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own, about the end of its archive, would hide that the disk is full."""

    class Full:
        def write(self, content: Any) -> None:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            """Nothing."""

    monkeypatch.setattr("thunderhead.files.places.LocalFiles.write", lambda self, path, save: save(Full()))
    with pytest.raises(OSError, match="No space left"):
        file.write({"a": 1}, str(tmp_path / "a"))
    with pytest.raises(TypeError, match="come from the environment"):
        file.write({}, str(tmp_path / "a"), {"key": "value"})


# --- S3 ----------------------------------------------------------------------------------------------------------


def uploads(endpoint: str) -> list[Any]:
    """Uploads that nobody finished."""
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    return list(client.list_multipart_uploads(Bucket="checkpoints").get("Uploads", []))


PART = 5 * 1024 * 1024


@pytest.mark.parametrize("size", [0, 3, PART, PART + 1, 7 * PART + 11], ids=str)
def test_an_object_goes_up_in_parts_while_it_is_made(s3_endpoint: str, size: int) -> None:
    store = S3Store("checkpoints", endpoint=s3_endpoint)
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    with writing(store, "a", part_bytes=PART) as stream:
        for start in range(0, size, 1_000_003):
            stream.write(memoryview(content)[start : start + 1_000_003])
        assert list(store.scan()) == []
    assert store.get("a") == content
    assert uploads(s3_endpoint) == []


def test_an_upload_that_breaks_off_leaves_nothing(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Store("checkpoints", endpoint=s3_endpoint)

    def from_maker() -> None:
        with writing(store, "a", part_bytes=PART) as stream:
            stream.write(bytes(3 * PART))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        from_maker()
    put_part = store.put_part

    def second_fails(upload: Any, number: int, content: bytes) -> Any:
        if number == 2:
            raise ConnectionError("gone")
        return put_part(upload, number, content)

    monkeypatch.setattr(store, "put_part", second_fails)

    def from_network() -> None:
        with writing(store, "a", part_bytes=PART) as stream:
            stream.write(bytes(3 * PART))

    with pytest.raises(ConnectionError, match="gone"):
        from_network()
    assert list(store.scan()) == []
    assert uploads(s3_endpoint) == []


def test_a_large_object_comes_down_in_ranges(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thunderhead.files.urls._RANGE_BYTES", 10)
    content = bytes(range(95))
    put(f"{bucket}/a", content)
    with place_of(bucket).read(f"{bucket}/a") as stream:
        assert stream.read() == content


def test_what_the_storage_refuses_is_both_an_os_error_and_final(bucket: str) -> None:
    missing = "s3://there-is-none/a"
    for act in (place_of(missing).check, lambda path: put(path, b"1"), place_of(missing).names):
        with pytest.raises(RefusedByStorage, match=r"s3://there-is-none/a.*create the bucket"):
            act(missing)
    assert issubclass(RefusedByStorage, OSError)


# --- others ------------------------------------------------------------------------------------------------------


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The test's directory on a web server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_web_is_read_only(web: str, tmp_path: Path) -> None:
    file.write({"state_dict": {}}, str(tmp_path / "a.ckpt"))
    assert file.read(f"{web}/a.ckpt") == {"state_dict": {}}
    with pytest.raises(FileNotFoundError, match="404"):
        file.read(f"{web}/b.ckpt")
    with pytest.raises(MisconfigurationException, match="can only be read from"):
        file.write({}, f"{web}/a.ckpt")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense://a/b", r"nonsense.*use a directory or s3://"),
        ("gs://bucket/a", r"(?i)gcsfs.*use a directory or s3://"),
        ("s3:///a", "names no bucket"),
    ],
)
def test_what_nothing_opens(url: str, says: str) -> None:
    with pytest.raises(MisconfigurationException, match=says):
        place_of(url)


def test_forms_of_paths(tmp_path: Path) -> None:
    assert [is_url(path) for path in ("/a", "a://b", "file:///a")] == [False, True, False]
    assert normal("s3://a/b/") == "s3://a/b"
    assert normal(f"file://{tmp_path}/a%20b") == os.path.realpath(f"{tmp_path}/a b")
    assert lies_in("s3://a/b/c", "s3://a/b")
    assert not lies_in("s3://a/bc", "s3://a/b")
    assert lies_in("/a/b/c", "/a/b")
    assert not lies_in("/a/bc", "/a/b")
    assert same("a", os.path.abspath("a"))
    assert not same("s3://a/b", "s3://a/c")


@pytest.mark.parametrize(("kind", "called"), [("fifo", "a pipe"), ("directory", "a directory"), ("link", "a pipe")])
def test_only_a_regular_file_is_replaced(tmp_path: Path, kind: str, called: str) -> None:
    """Renaming a file over a device or a pipe would delete it for everyone else on the machine."""
    target = tmp_path / "target"
    if kind == "directory":
        target.mkdir()
    else:
        os.mkfifo(tmp_path / "pipe" if kind == "link" else target)
    if kind == "link":
        target.symlink_to(tmp_path / "pipe")
    before, there = os.lstat(target), sorted(os.listdir(tmp_path))
    wrote: list[Any] = []
    with pytest.raises(OSError, match=f"target' is {called}.*only a regular file can be replaced.*another path"):
        place_of(str(target)).write(str(target), wrote.append)
    after = os.lstat(target)
    assert (wrote, sorted(os.listdir(tmp_path))) == ([], there)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("before", ["nothing", "a file", "a link", "a directory"])
@pytest.mark.parametrize("target", ["a file", "a directory"])
def test_a_link_is_a_copy_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, before: str, target: str
) -> None:
    source, path = tmp_path / "source", tmp_path / "below" / "link"
    content = source if target == "a file" else source / "part"
    content.parent.mkdir(exist_ok=True)
    content.write_bytes(b"new")
    path.parent.mkdir()
    if before == "a directory":
        path.mkdir()
        (path / "old").write_bytes(b"old")
    elif before != "nothing":
        (tmp_path / "old").write_bytes(b"old")
        path.symlink_to("../old") if before == "a link" else path.write_bytes(b"old")
    if not links:
        monkeypatch.setattr(os, "symlink", refuse)
    LOCAL.link(str(source), str(path))
    assert path.is_symlink() == links
    assert (path if target == "a file" else path / "part").read_bytes() == b"new"
    assert os.listdir(path.parent) == ["link"]
    if links:
        assert os.readlink(path) == "../source"
    if before == "a link":
        assert (tmp_path / "old").read_bytes() == b"old"


def refuse(*_: object) -> None:
    """What a file system without links says."""
    raise OSError(95, "Operation not supported")


def test_a_link_to_itself_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    LOCAL.link(str(tmp_path / "a"), str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"a"
    assert not (tmp_path / "a").is_symlink()
