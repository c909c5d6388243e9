"""The code blocks and links of a Markdown page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"^# (\S+\.(?:py|yaml))\n")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        language: the word behind the fence.
        text: what is inside.
        line: number of its first line in the page.
        said: what the block shows as its output: the text block that follows it, if one does before other code.
    """

    language: str
    text: str
    line: int
    said: str | None

    @property
    def file(self) -> str | None:
        """The file this block is, where its first line is a comment with nothing but a file's name."""
        found = _FILE_NAME.match(self.text)
        return None if found is None else found[1]


def blocks(page: Path) -> list[Block]:
    """Every block of a page but those that are another's output."""
    text = page.read_text()
    found = list(_FENCE.finditer(text))
    made = []
    for index, match in enumerate(found):
        following = found[index + 1] if index + 1 < len(found) else None
        said = following[2] if following is not None and following[1] == "text" else None
        line = text.count("\n", 0, match.start()) + 2
        if match[1] != "text":
            made.append(Block(match[1], match[2], line, said))
    return made


def pages() -> list[Path]:
    """Every page that people read."""
    places = ("README.md", "CONTRIBUTING.md", "docs/*.md", "docs/*/*.md", "examples/*/README.md")
    return sorted(path for place in places for path in ROOT.glob(place))


def name(page: Path) -> str:
    """A page as tests call it."""
    return str(page.relative_to(ROOT))


def links(page: Path) -> list[str]:
    """Targets of the page's links to files of this tree."""
    return [target for target in _LINK.findall(_FENCE.sub("", page.read_text())) if "://" not in target]


def headings(page: Path) -> set[str]:
    """What ``#...`` links to a page's headings look like."""
    titles = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
