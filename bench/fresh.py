"""Scripts in interpreters of their own, which time themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seconds:
    """What a script took.

    Attributes:
        elapsed: by the clock.
        cpu: user and system time of its process, all its threads included.
    """

    elapsed: float
    cpu: float


BEGIN = "import time\nwall, cpu = time.perf_counter(), time.process_time()"
END = "print(time.perf_counter() - wall, time.process_time() - cpu)"


def in_turn(scripts: Mapping[str, str], rounds: int) -> dict[str, list[Seconds]]:
    """Each script's seconds from its ``BEGIN`` to its ``END``, which it prints.

    All take turns, every other time backwards; a first round compiles bytecode and warms the disk, and does not count.
    """
    found: dict[str, list[Seconds]] = {name: [] for name in scripts}
    for number in range(rounds + 1):
        for name in scripts if number % 2 == 0 else reversed(scripts):
            seconds = _seconds(scripts[name])
            if number > 0:
                found[name].append(seconds)
    return found


def _seconds(script: str) -> Seconds:
    # Where bytecode is not kept, compiling torch and jsonargparse is most of what a start takes.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", script]
    wall, cpu = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split()
    return Seconds(float(wall), float(cpu))
