"""How much longer a whole step takes than in a raw loop, for steps of some hundred microseconds and of milliseconds."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch

from bench.pairs import PairedBatches, Pairs
from bench.report import Result, row
from bench.sides import LIGHTNING, OURS, fabric, fit, has_lightning, usual
from bench.workloads import LARGER, TINY, RawLoop, Workload, batches

Run = Callable[[PairedBatches], None]


def run(*, quick: bool) -> list[Result]:
    """One table per workload."""
    few = 3 if quick else 1
    return [
        _measure(TINY, steps=100, rounds=5, pairs=30 // few, peer_pairs=12 // few, at_most=1.10),
        _measure(LARGER, steps=50, rounds=5, pairs=42 // few, peer_pairs=6 // few, at_most=1.01),
    ]


def _sides(work: Workload) -> dict[str, Run]:
    found: dict[str, Run] = {
        f"{OURS}: nothing logged": partial(fit, OURS, work, logged=0, everything=False),
        f"{OURS}: logger, checkpoint, one value": partial(usual, OURS, work),
        f"{OURS}: everything on, five values": partial(fit, OURS, work, logged=5, everything=True),
    }
    if has_lightning():
        found |= {
            f"{LIGHTNING}: nothing logged": partial(fit, LIGHTNING, work, logged=0, everything=False),
            f"{LIGHTNING}: logger, checkpoint, one value": partial(usual, LIGHTNING, work),
            f"{LIGHTNING}: everything on, five values": partial(fit, LIGHTNING, work, logged=5, everything=True),
            "lightning.fabric": partial(fabric, work),
        }
    return found


def _measure(work: Workload, *, steps: int, rounds: int, pairs: int, peer_pairs: int, at_most: float) -> Result:
    torch.set_num_threads(1)
    sides = _sides(work)
    found = {name: Pairs() for name in sides}
    for number in range(rounds):
        for name in sides if number % 2 == 0 else reversed(sides):
            count = pairs if name.startswith(OURS) else peer_pairs
            warm_up = 100 if work is TINY else 10
            loader = PairedBatches(batches(work, 8), RawLoop(work), steps=steps, pairs=count, warm_up=warm_up)
            sides[name](loader)
            found[name].extend(loader.measured)
    raw_us = statistics.median(seconds for pairs_ in found.values() for seconds in pairs_.raw) * 1e6
    rows = [
        row(name, measured.ratios(), at_most=at_most if name.startswith(OURS) else None, digits=4)
        for name, measured in found.items()
    ]
    return Result(
        name="whole-step",
        title=f"Whole step ÷ a raw loop's, {work.name} ({raw_us:,.0f} µs a step in the raw loop)",
        how=f"Blocks of {steps} steps against a raw loop's, in pairs inside one run; the ratio of each pair.",
        rows=rows,
    )
