"""What is told of a traceback in two kilobytes: always the user's own line, however deep a library fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from thunderhead_agent.ending import from_exception
from thunderhead_agent.tracebacks import TRACEBACK_LIMIT, is_the_users, shown, traceback_tail
from thunderhead_api.treaty import Outcome

USER = """
def training_step(deep):
    loss = deep()
    return loss


def top(deep):
    return training_step(deep)
"""
LIBRARY = "def deep0():\n    raise ValueError('shapes differ')\n" + "".join(
    f"def deep{n}():\n    return deep{n - 1}()\n" for n in range(1, 61)
)
OURS = "def run(function, *given):\n    return function(*given)\n"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Callable[[str, str], dict[str, Any]]]:
    """Code as if it came from a file of some place."""

    def load(path: str, text: str) -> dict[str, Any]:
        file = Path(path) if path.startswith("/") else tmp_path / path
        if not path.startswith("/"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        names: dict[str, Any] = {}
        exec(compile(text, str(file), "exec"), names)
        return names

    return load


def raised(function: Callable[..., object], *given: object) -> BaseException:
    with pytest.raises(ValueError, match="shapes differ") as caught:
        function(*given)
    error = caught.value
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without this function's own
    return error


def test_the_users_line_is_told_however_deep_a_library_fails(
    files: Callable[[str, str], dict[str, Any]], tmp_path: Path
) -> None:
    deep = files("lib/site-packages/library.py", LIBRARY)["deep60"]
    user = files("code/digits.py", USER)
    error = raised(user["top"], deep)
    assert len("".join(traceback.format_tb(error.__traceback__))) > 2 * TRACEBACK_LIMIT
    told = traceback_tail(error)
    assert f'File "{tmp_path}/code/digits.py", line 3, in training_step' in told
    assert "loss = deep()" in told
    assert told.endswith("raise ValueError('shapes differ')")
    assert "\n  …\n" in told
    assert len(told.encode()) <= TRACEBACK_LIMIT
    ending = from_exception(error, outcome=Outcome.FAILED, step=3)
    assert "digits.py" in str(ending.message)


def test_what_leads_to_the_users_code_is_left_out(files: Callable[[str, str], dict[str, Any]]) -> None:
    import thunderhead

    ours = files(f"{Path(str(thunderhead.__file__)).parent}/loops/step.py", OURS)["run"]
    library = files("lib/site-packages/library.py", LIBRARY)["deep1"]
    told = traceback_tail(raised(ours, files("code/digits.py", USER)["top"], library))
    assert "thunderhead/loops/step.py" not in told
    assert told.lstrip().startswith('File "')
    assert "in top" in told
    assert "library.py" in told


def test_without_a_frame_of_the_users_the_end_is_told(files: Callable[[str, str], dict[str, Any]]) -> None:
    error = raised(files("lib/site-packages/library.py", LIBRARY)["deep1"])
    assert traceback_tail(error).endswith("raise ValueError('shapes differ')")


@pytest.fixture
def trainer(files: Callable[[str, str], dict[str, Any]]) -> dict[str, Any]:
    """Code of ours: it calls what it is given, fails itself, and fails after something of the user's did."""
    import thunderhead

    text = OURS + (
        "def fail(*_):\n    raise ValueError('shapes differ')\n"
        "def rescue(function):\n    try:\n        function()\n    except ValueError as error:\n"
        "        raise ValueError('shapes differ, as before') from error\n"
    )
    return files(f"{Path(str(thunderhead.__file__)).parent}/loops/step.py", text)


def test_a_log_begins_with_the_users_frames(
    files: Callable[[str, str], dict[str, Any]], trainer: dict[str, Any]
) -> None:
    library = files("lib/site-packages/library.py", LIBRARY)["deep1"]
    error = raised(trainer["run"], trainer["run"], files("code/digits.py", USER)["top"], library)
    error.add_note("a note")
    lines = shown(error).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == "  … 2 frames before your code left out"
    assert "digits.py" in lines[2]
    assert lines[-2:] == ["ValueError: shapes differ", "a note"]
    whole = "".join(traceback.format_exception(error)).splitlines()
    assert lines[2:] == whole[-len(lines) + 2 :], "the rest is as Python prints it"


@pytest.mark.parametrize("whose", ["ours", "a library's", "ours, in the midst of the user's"])
def test_nothing_is_left_out_of_an_error_that_is_not_the_users(
    files: Callable[[str, str], dict[str, Any]], trainer: dict[str, Any], whose: str
) -> None:
    library = files("lib/site-packages/library.py", LIBRARY)["deep1"]
    top = files("code/digits.py", USER)["top"]
    given = {"ours": [trainer["fail"]], "a library's": [library]}.get(whose, [top, trainer["fail"]])
    error = raised(trainer["run"], *given)
    assert shown(error) == "".join(traceback.format_exception(error))


def test_each_error_of_a_chain_is_told_by_itself(
    files: Callable[[str, str], dict[str, Any]], trainer: dict[str, Any]
) -> None:
    user = files("code/digits.py", USER)
    library = files("lib/site-packages/library.py", LIBRARY)["deep1"]
    told = shown(raised(trainer["rescue"], lambda: trainer["run"](user["top"], library)))
    first, _, second = told.partition("The above exception was the direct cause")
    assert "left out" not in second, "this one is ours"
    assert "in rescue" in second
    assert first.count("left out") == 1


@pytest.mark.parametrize(
    ("file", "theirs"),
    [
        ("/etc/thunderhead/code/digits.py", True),
        ("/home/me/thunderhead/digits.py", True),
        ("/opt/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", False),
        ("<frozen runpy>", False),
        (traceback.__file__, False),
        (is_the_users.__code__.co_filename, False),
    ],
)
def test_whose_a_file_is(file: str, theirs: bool) -> None:
    assert is_the_users(file) is theirs
