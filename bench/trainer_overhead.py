"""CPU time per training step that a trainer adds to a raw loop, ours and Lightning's in one run.

One thread; the sides take turns within each round, in alternating order, so that a disturbance of the machine meets all
of them; the figure is the median over rounds of the difference to the raw loop of the same round.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

import torch

from bench.sides import LARGER, NULL, TINY, Workload, framework, raw

Side = Callable[[], float]


def sides(work: Workload, steps: int, *, with_lightning: bool) -> dict[str, Side]:
    """The runs to compare, by name."""
    found: dict[str, Side] = {"raw": lambda: raw(work, steps)}
    packages = {"thunderhead": "thunderhead"} | ({"lightning": "lightning.pytorch"} if with_lightning else {})
    for label, package in packages.items():

        def quiet(package: str = package) -> float:
            return framework(package, work, steps, logged=0, everything=False)

        def full(package: str = package) -> float:
            return framework(package, work, steps, logged=5, everything=True)

        found[f"{label}, nothing logged"] = quiet
        found[f"{label}, everything on, five values"] = full
    return found


def measure(work: Workload, *, steps: int, rounds: int, with_lightning: bool) -> dict[str, Any]:
    """Medians and spread of every side, and what each adds to the raw loop."""
    torch.set_num_threads(1)
    runs = sides(work, steps, with_lightning=with_lightning)
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 == 0 else reversed(list(runs)):
            seconds[name].append(runs[name]())
    return {"workload": work.name, "steps": steps, "rounds": rounds, "sides": _summary(seconds)}


def _summary(seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    base = seconds["raw"]
    rows = []
    for name, values in seconds.items():
        added = [(value - reference) * 1e6 for value, reference in zip(values, base, strict=True)]
        ratios = [value / reference for value, reference in zip(values, base, strict=True)]
        rows.append(
            {
                "side": name,
                "microseconds_per_step": round(statistics.median(values) * 1e6, 2),
                "added_microseconds": round(statistics.median(added), 2),
                "added_range": [round(min(added), 2), round(max(added), 2)],
                "ratio_to_raw": round(statistics.median(ratios), 4),
            }
        )
    return rows


def run(*, quick: bool) -> list[dict[str, Any]]:
    """All workloads; ``quick`` for a look, not for a figure."""
    peer = importlib.util.find_spec("lightning") is not None
    rounds = 3 if quick else 7
    return [
        measure(NULL, steps=1_000 if quick else 2_000, rounds=rounds, with_lightning=peer),
        measure(TINY, steps=1_000 if quick else 2_000, rounds=rounds, with_lightning=peer),
        measure(LARGER, steps=150 if quick else 300, rounds=rounds, with_lightning=peer),
    ]
