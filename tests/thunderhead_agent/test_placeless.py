"""Warnings of a worker: with the user's line where there is one, and never with one that nobody wrote."""

from __future__ import annotations

import warnings

import pytest

from thunderhead_agent.placeless import formatted


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("<string>", "UserWarning: the settings stand\n"),
        ("/code/digits.py", "/code/digits.py:7: UserWarning: the settings stand\n"),
    ],
)
def test_only_the_users_lines_are_named(file: str, said: str) -> None:
    warning = UserWarning("the settings stand")
    assert formatted(warning, UserWarning, file, 7) == said
    if file != "<string>":
        assert formatted(warning, UserWarning, file, 7) == warnings.formatwarning(warning, UserWarning, file, 7)
