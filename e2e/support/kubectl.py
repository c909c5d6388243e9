"""kubectl as a user has it, its tables as dictionaries."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Said:
    """What a kubectl command answered."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl against the cluster; called, it returns the rows of the table it prints."""

    program: Path
    kubeconfig: Path

    def run(self, *words: str, stdin: str = "") -> Said:
        command = [str(self.program), f"--kubeconfig={self.kubeconfig}", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    def __call__(self, *words: str) -> Sequence[dict[str, str]]:
        said = self.run(*words)
        assert said.status == 0, said.err
        return rows(said.out)


def rows(table: str) -> list[dict[str, str]]:
    """Rows of a table whose columns begin where their headings do; a cell may be empty."""
    lines = table.splitlines()
    starts = [(found.start(), found[0]) for found in re.finditer(r"\S+(?: \S+)*", lines[0])] if lines else []
    ends = [start for start, _ in starts[1:]] + [None]
    return [
        {name: line[start:end].strip() for (start, name), end in zip(starts, ends, strict=True)} for line in lines[1:]
    ]
