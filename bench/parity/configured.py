"""``python -m bench.parity.configured``: command lines drawn at random, as ours and as Lightning's understands them.

Compared are the resolved configuration and what is made of it; of those that one side refuses, that both do.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from bench.parity.configured_cases import Case, drawn

SIDES: Final = ("thunderhead", "lightning.pytorch")
EXPLAINED: Final[dict[str, str]] = {
    "/config/trainer/model_registry": "of Lightning's own service",
    "/config/trainer/num_nodes": "None is what the launcher says",
    "/config/trainer/callbacks/*/log_key_prefix": "an argument of ours",
}
STRICTER: Final[dict[str, str]] = {
    "log_every_n_steps=-": "a negative interval is refused; in Lightning nothing is ever logged then",
}


def main() -> int:
    """Draw, run, compare."""
    parser = argparse.ArgumentParser(prog="python -m bench.parity.configured", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first; each has its own")
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.count)
    cases = [drawn(seed) for seed in seeds]
    answers = [answers_of(side, cases) for side in SIDES]
    differing = refused = 0
    for seed, case, ours, theirs in zip(seeds, cases, *answers, strict=True):
        refused += "refused" in ours and "refused" in theirs
        found = [difference for difference in differences(ours, theirs) if not explained(difference)]
        differing += bool(found)
        if found:
            print(f"seed {seed}: {json.dumps(asdict(case))}")
            print("\n".join(f"    {path}: ours {here!r:.600}, theirs {there!r:.600}" for path, here, there in found))
    print(f"{len(cases)} drawn from seed {options.seed} on: {differing} differ, {refused} refused by both")
    return int(differing > 0)


def answers_of(package: str, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """What a side makes of each case."""
    with tempfile.TemporaryDirectory() as folder:
        given = "".join(json.dumps(asdict(case)) + "\n" for case in cases)
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        done = subprocess.run(
            [sys.executable, "-m", "bench.parity.configured_side", package],
            input=given, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment, check=True,
        )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Path and both values of what is not alike."""
    if "refused" in ours or "refused" in theirs:
        if ("refused" in ours) != ("refused" in theirs):
            yield "refused", _why(ours), _why(theirs)
        return
    yield from _unlike(
        "", {"config": ours["config"], "made": ours["made"]}, {"config": theirs["config"], "made": theirs["made"]}
    )


def _why(answer: dict[str, Any]) -> object:
    return (answer["refused"], answer.get("why"), answer["said"][-400:]) if "refused" in answer else "taken"


def _unlike(path: str, ours: object, theirs: object) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted({*ours, *theirs}):
            yield from _unlike(f"{path}/{name}", ours.get(name, "(absent)"), theirs.get(name, "(absent)"))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (here, there) in enumerate(zip(ours, theirs, strict=True)):
            yield from _unlike(f"{path}/{number}", here, there)
    elif ours != theirs:
        yield path, ours, theirs


def explained(difference: tuple[str, Any, Any]) -> bool:
    """Whether it is one that is meant."""
    if difference[0] == "refused":
        return any(words in str(difference[1]) for words in STRICTER)
    return any(fnmatch.fnmatch(difference[0], pattern) for pattern in EXPLAINED)


if __name__ == "__main__":
    sys.exit(main())
