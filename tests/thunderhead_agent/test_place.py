"""Where an exception arose, and which exceptions are bad luck and have no place."""

from __future__ import annotations

import errno
import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from thunderhead.job.errors import StorageUnavailable
from thunderhead_agent.ending import Whereabouts, failure, from_exception
from thunderhead_agent.place import place_of
from thunderhead_api.treaty import Outcome


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - the test is about all of them
        return error
    raise AssertionError("nothing was raised")


def users(directory: Path) -> Callable[..., object]:
    """A function of a user's file whose second line calls what it is given."""
    directory.mkdir(parents=True, exist_ok=True)
    source = textwrap.dedent("""
        def step(call):
            return call()
    """)
    file = directory / "digits.py"
    file.write_text(source)
    names: dict[str, Callable[..., object]] = {}
    exec(compile(source, str(file), "exec"), names)
    return names["step"]


def out_of(error: BaseException) -> Callable[[], object]:
    def call() -> object:
        raise error

    return call


def test_it_is_the_users_line_and_not_the_librarys_below_it(tmp_path: Path) -> None:
    error = raised(lambda: users(tmp_path)(json.JSONDecoder().raw_decode))
    assert place_of(error, [str(tmp_path)]) == "digits.py:3"


def test_two_attempts_in_two_directories_have_one_place(tmp_path: Path) -> None:
    found = set()
    for attempt in ("pods/digits-1-0/code", "pods/digits-2-0/code"):
        root = tmp_path / attempt
        error = raised(lambda root=root: users(root)([].pop))  # type: ignore[misc]  # bound now
        found.add(place_of(error, ["", str(tmp_path), str(root)]))
    assert found == {"digits.py:3"}


def behind(error: BaseException) -> BaseException:
    wrapped = RuntimeError("loading failed")
    wrapped.__cause__ = error
    return wrapped


LUCK = [
    MemoryError(),
    type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    TimeoutError("read"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.ESTALE, "Stale file handle"),
    StorageUnavailable("PutObject: no answer"),
    type("EndpointConnectionError", (Exception,), {"__module__": "botocore.exceptions"})("no route"),
    behind(BrokenPipeError()),
]


@pytest.mark.parametrize("error", LUCK, ids=lambda e: type(e).__name__)
def test_bad_luck_has_no_place(error: BaseException) -> None:
    assert place_of(raised(out_of(error))) is None


@pytest.mark.parametrize(
    "error", [NameError("x"), FileNotFoundError(errno.ENOENT, "no data"), SystemExit(3), behind(KeyError("x"))], ids=str
)
def test_a_fault_of_the_code_has_one_and_it_reaches_the_record(error: BaseException) -> None:
    ending = from_exception(raised(out_of(error)), outcome=Outcome.FAILED, step=4)
    found = failure(ending, None, Whereabouts(rank=1, node_rank=0, pod="digits-1-0", node=None)).culprit
    assert found.place is not None
    assert found.place.startswith(("thunderhead_agent/test_place.py:", "test_place.py:", "tests/thunderhead_agent/"))


def test_what_a_peers_death_causes_has_none() -> None:
    error = RuntimeError("[/gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.7]:4483")
    assert from_exception(raised(out_of(error)), outcome=Outcome.FAILED, step=4).place is None
