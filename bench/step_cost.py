"""CPU time that a trainer adds to a step, on a model that computes nothing; and what one more logged value adds."""

from __future__ import annotations

import statistics

import torch

from bench.pairs import PairedBatches, Pairs
from bench.report import Result, row
from bench.sides import LIGHTNING, OURS, fit, has_lightning
from bench.workloads import NULL, RawLoop, batches

# Records and learning rates are written every 50 steps, files flushed every 100: each block has its share of both.
_STEPS = 100
# name → values logged per step, and whether everything is switched on.
_CONFIGURATIONS = {
    "nothing logged": (0, False),
    "everything on, nothing logged": (0, True),
    "everything on, five values": (5, True),
    "everything on, ten values": (10, True),
}


def run(*, quick: bool) -> list[Result]:
    """Both tables, from the same runs."""
    rounds = _rounds(count=3 if quick else 8, pairs={OURS: 20 if quick else 60, LIGHTNING: 2 if quick else 4})
    return [_added(rounds), _one_more_value(rounds)]


Rounds = dict[tuple[str, str], list[Pairs]]


def _rounds(*, count: int, pairs: dict[str, int]) -> Rounds:
    """All sides in turn, ``count`` times, every other time backwards."""
    torch.set_num_threads(1)
    packages = [OURS, *([LIGHTNING] if has_lightning() else [])]
    sides = [(package, name) for name in _CONFIGURATIONS for package in packages]
    found: Rounds = {side: [] for side in sides}
    for number in range(count):
        for package, name in sides if number % 2 == 0 else reversed(sides):
            logged, everything = _CONFIGURATIONS[name]
            loader = PairedBatches(batches(NULL, 8), RawLoop(NULL), steps=_STEPS, pairs=pairs[package])
            fit(package, NULL, loader, logged=logged, everything=everything)
            found[package, name].append(loader.measured)
    return found


def _added(rounds: Rounds) -> Result:
    limits = {"nothing logged": 15.0, "everything on, five values": 25.0}
    rows = []
    for (package, name), runs in rounds.items():
        values = [value for run in runs for value in run.added_us()]
        rows.append(row(f"{package}: {name}", values, at_most=limits.get(name) if package == OURS else None))
    if has_lightning():
        for name, wanted in (("nothing logged", None), ("everything on, five values", 100.0)):
            ratios = [theirs / ours for theirs, ours in _per_round(rounds, name)]
            rows.append(row(f"Lightning's ÷ ours: {name}", ratios, at_least=wanted, digits=1))
    return Result(
        name="step-cost",
        title="CPU time added to a step, null model, µs",
        how=(
            f"Blocks of {_STEPS} steps against a raw loop's, in pairs inside one run. Everything on: CSV logger, "
            "ModelCheckpoint, EarlyStopping (with a value to watch), LearningRateMonitor, and on our side the job's "
            "heartbeat, metrics and stop agreement. Values are logged on step and epoch."
        ),
        rows=rows,
    )


def _per_round(rounds: Rounds, name: str) -> list[tuple[float, float]]:
    """Medians of each round, Lightning's and ours."""
    theirs, ours = rounds[LIGHTNING, name], rounds[OURS, name]
    middle = [[statistics.median(run.added_us()) for run in runs] for runs in (theirs, ours)]
    return list(zip(*middle, strict=True))


def _one_more_value(rounds: Rounds) -> Result:
    rows = []
    for package in dict.fromkeys(package for package, _ in rounds):
        five, ten = (rounds[package, f"everything on, {count} values"] for count in ("five", "ten"))
        steps = [
            (statistics.median(more.added_us()) - statistics.median(less.added_us())) / 5
            for less, more in zip(five, ten, strict=True)
        ]
        rows.append(row(package, steps, at_most=3.0 if package == OURS else None))
    return Result(
        name="step-cost",
        title="One more logged value on the CPU, µs",
        how="A fifth of the difference between ten values and five in the runs above, round by round.",
        rows=rows,
    )
