"""Seconds that ``import thunderhead`` takes once ``torch`` is imported, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

from bench.report import Result, row
from bench.sides import has_lightning

_CODE = """
import time, torch
wall, cpu = time.perf_counter(), time.process_time()
{}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def run(*, quick: bool) -> list[Result]:
    """All statements in turn, every other time backwards; the first round warms the disk and does not count."""
    statements = ["import thunderhead", "import thunderhead as th; th.Trainer, th.LightningModule"]
    if has_lightning():
        statements.append("import lightning.pytorch")
    found: dict[str, list[tuple[float, float]]] = {statement: [] for statement in statements}
    for number in range(4 if quick else 10):
        for statement in statements if number % 2 == 0 else reversed(statements):
            if (seconds := _seconds(statement)) and number > 0:
                found[statement].append(seconds)
    rows = []
    for statement, measured in found.items():
        limit = 0.3 if "thunderhead" in statement else None
        rows.append(row(f"`{statement}`: CPU", [cpu for _, cpu in measured], at_most=limit, digits=3))
        rows.append(row(f"`{statement}`: elapsed", [wall for wall, _ in measured], digits=3))
    return [
        Result(
            name="import",
            title="Import over `import torch`, s",
            how="Fresh interpreters in turn, timed from the end of `import torch`; bytecode is compiled already.",
            rows=rows,
        )
    ]


def _seconds(statement: str) -> tuple[float, float]:
    """Elapsed and CPU seconds."""
    command = [sys.executable, "-c", _CODE.format(statement)]
    wall, cpu = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(wall), float(cpu)
