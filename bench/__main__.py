"""``python -m bench``: every benchmark that needs no cluster, one after the other."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from bench import trainer_overhead


def table(results: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines: list[str] = []
    for result in results:
        lines += [f"### {result['workload']}, {result['steps']} steps × {result['rounds']} rounds", ""]
        lines += ["| side | µs/step (CPU) | added µs (min … max) | ÷ raw |", "|---|---:|---:|---:|"]
        for row in result["sides"]:
            low, high = row["added_range"]
            lines.append(
                f"| {row['side']} | {row['microseconds_per_step']} | {row['added_microseconds']} ({low} … {high}) "
                f"| {row['ratio_to_raw']} |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench/results"), help="folder for the JSON and the table")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a figure")
    options = parser.parse_args()
    results = trainer_overhead.run(quick=options.quick)
    machine = {"python": platform.python_version(), "torch": torch.__version__, "cores": os.cpu_count()}
    options.out.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine, "results": results}
    (options.out / "trainer-overhead.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "trainer-overhead.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
