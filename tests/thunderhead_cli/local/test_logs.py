"""Following logs: every shown line once, whole, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from thunderhead_cli.local.logs import LogFollower, Logs, last_lines

TEXT = "[agent 0] starting\n[rank 0] one\n[rank 1] two\nbare\n[rank 0] three\n[rank 0] unfinis"


@pytest.mark.parametrize(
    ("shown", "lines"),
    [
        (Logs.RANK0, ["[rank 0] one", "[rank 0] three"]),
        (Logs.ALL, ["[agent 0] starting", "[rank 0] one", "[rank 1] two", "bare", "[rank 0] three"]),
        (Logs.NONE, []),
    ],
)
def test_lines_that_are_shown(tmp_path: Path, shown: Logs, lines: list[str]) -> None:
    log = tmp_path / "agent.log"
    log.write_text(TEXT)
    assert LogFollower(shown).new_lines([log, tmp_path / "not-there"]) == lines


@pytest.mark.parametrize(
    ("shown", "ranks"), [(Logs.RANK0, [True, False]), (Logs.ALL, [True, True]), (Logs.NONE, [False, False])]
)
def test_whose_lines_are_shown(shown: Logs, ranks: list[bool]) -> None:
    assert [LogFollower(shown).is_shown(rank) for rank in (0, 1)] == ranks


def test_each_line_once_and_never_half(tmp_path: Path) -> None:
    log, follower = tmp_path / "agent.log", LogFollower(Logs.RANK0)
    log.write_text(TEXT)
    follower.new_lines([log])
    assert follower.new_lines([log]) == []
    with log.open("a") as file:
        file.write("hed\n")
    assert follower.new_lines([log]) == ["[rank 0] unfinished"]


def test_line_without_an_end_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    log, follower = tmp_path / "agent.log", LogFollower(Logs.ALL)
    log.write_text("x" * 600_000 + "\nafter\n")
    seen = [line for _ in range(4) for line in follower.new_lines([log])]
    assert "".join(seen) == "x" * 600_000 + "after"


def test_the_last_lines_are_those_that_a_kubelet_takes(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    assert last_lines(log) == ""
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    assert last_lines(log) == "".join(f"line {n}\n" for n in range(20, 100))
    log.write_text("é" * 3000 + "end")
    assert len(last_lines(log).encode()) <= 2048
    assert last_lines(log).endswith("éend")
