"""What to do about a file that YAML cannot read."""

from __future__ import annotations

from typing import Final, Protocol

_REMEDIES: Final = (
    ("mapping values are not allowed", "begin the keys of one mapping in one column; quote a value that holds ': '"),
    ("'\\t' that cannot start", "indent with spaces, not with a tab"),
    ("expected <block end>", "begin the keys of one mapping, or the dashes of one list, in one column"),
    ("expected ',' or ", "close the bracket{opened}"),
    ("unexpected end of stream", "close the quote{opened}"),
    ("found duplicate anchor", "name it otherwise"),
    ("found undefined alias", "write the anchor (&name) before it, or quote a value that begins with *"),
    ("that cannot start any token", "quote the value"),
    ("could not find expected ':'", "write a colon and a space after the key"),
)


class Mark(Protocol):
    """A place in a text."""

    line: int


def remedy(problem: str, opened: Mark | None) -> str:
    """In a few words; empty where nobody knows.

    Args:
        problem: in PyYAML's words.
        opened: where that began which it was reading, as its ``context_mark`` says.
    """
    where = "" if opened is None else f" of line {opened.line + 1}"
    found = next((said for words, said in _REMEDIES if words in problem), "")
    return found.format(opened=where)
