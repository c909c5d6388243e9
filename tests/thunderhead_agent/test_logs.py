"""Every line that a worker wrote reaches the log, whole and with its rank."""

from __future__ import annotations

import io
import os
import threading

from thunderhead_agent.logs import MAX_LINE_BYTES, LogPump


def pipe(pump: LogPump, rank: int) -> int:
    reader, writer = os.pipe()
    pump.add(reader, prefix=f"[rank {rank}] ")
    return writer


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def test_lines_of_ranks_never_mix_and_the_last_words_are_kept() -> None:
    output = io.BytesIO()
    pump = LogPump(output)
    writers = [pipe(pump, rank) for rank in range(4)]

    def talk(rank: int, fd: int) -> None:
        for n in range(500):
            for piece in (f"line {n} ", "of rank ", f"{rank}\n"):
                os.write(fd, piece.encode())
        os.write(fd, b"the end")
        os.close(fd)

    threads = [threading.Thread(target=talk, args=(rank, fd)) for rank, fd in enumerate(writers)]
    for thread in threads:
        thread.start()
    for n in range(50):
        pump.say(f"[agent 0] {n}")
    for thread in threads:
        thread.join()
    pump.close(timeout_s=10)
    lines = output.getvalue().decode().splitlines()
    for rank in range(4):
        mine = [line for line in lines if line.startswith(f"[rank {rank}] ")]
        assert mine == [f"[rank {rank}] line {n} of rank {rank}" for n in range(500)] + [f"[rank {rank}] the end"]
    assert [line for line in lines if line.startswith("[agent 0] ")] == [f"[agent 0] {n}" for n in range(50)]


def test_what_is_in_the_pipe_of_a_dead_worker_is_read_though_a_child_of_it_still_holds_it() -> None:
    output = io.BytesIO()
    pump = LogPump(output)
    writer = pipe(pump, 7)
    write_all(writer, b"last line before SIGKILL\nhalf a li")
    pump.close(timeout_s=10)  # the writing end is still open
    os.close(writer)
    assert output.getvalue() == b"[rank 7] last line before SIGKILL\n[rank 7] half a li\n"


def test_a_line_without_an_end_is_passed_on_in_pieces() -> None:
    output = io.BytesIO()
    pump = LogPump(output)
    writer = pipe(pump, 1)
    write_all(writer, b"x" * (3 * MAX_LINE_BYTES) + b"\n")
    os.close(writer)
    pump.close(timeout_s=10)
    lines = output.getvalue().splitlines()
    assert len(lines) >= 3
    assert sum(len(line) - len(b"[rank 1] ") for line in lines) == 3 * MAX_LINE_BYTES


def test_workers_are_not_blocked_when_nobody_reads_our_output() -> None:
    reader, closed_output = os.pipe()
    os.close(reader)
    with os.fdopen(closed_output, "wb", buffering=0) as output:
        pump = LogPump(output)
        writer = pipe(pump, 0)
        write_all(writer, b"a line\n" * 100_000)  # far more than a pipe holds
        os.close(writer)
        pump.close(timeout_s=10)
