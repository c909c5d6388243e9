"""Benchmarks that need no cluster. All sides of one take turns in one run, on one CPU thread.

With no name, or with `trainer`, all of them run (some ten minutes on a quiet machine); the table and its JSON are kept
as bench/results/trainer.md and .json. With names only those run; they are printed, and kept where --out says.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from bench import (
    averaging_and_search,
    calls,
    cli_start,
    collectives,
    fabric_cost,
    gpu,
    host_reads,
    import_time,
    sharded_step,
    step_cost,
    whole_step,
)
from bench.report import Result, as_json, markdown

BENCHMARKS: dict[str, tuple[Callable[..., list[Result]], str]] = {
    "step-cost": (step_cost.run, "CPU time added to a step of a model that computes nothing; one more logged value"),
    "whole-step": (whole_step.run, "a whole step against a raw loop's: a tiny MLP, and a step of 5 ms and more"),
    "fabric-cost": (fabric_cost.run, "CPU time that Fabric adds to a step of a raw loop"),
    "sharded-step": (sharded_step.run, "a step of FSDP2 on two ranks against a loop by hand"),
    "calls": (calls.run, "calls of the interpreter per step, over a raw loop's"),
    "collectives": (collectives.run, "collectives per step over raw DDP, two ranks"),
    "host-reads": (host_reads.run, "values read from the device per step"),
    "averaging": (averaging_and_search.run, "an average's update beside torch's; a rate search beside its steps"),
    "import": (import_time.run, "import over import torch"),
    "cli-start": (cli_start.run, "from the start of a script to its first step, by a command line over a plain script"),
    "gpu": (gpu.run, "tokens/s of a 124M GPT against a raw loop, eager and compiled; needs a CUDA device"),
}


def main() -> None:
    """Run, print and keep."""
    options = _parser().parse_args()
    names = [name for name in BENCHMARKS if name in options.names]
    whole = not names
    out = options.out if options.out is not None or not whole else Path("bench/results")
    load = [os.getloadavg()[0]]
    results: list[Result] = []
    for name in names or BENCHMARKS:
        began = time.perf_counter()
        found = BENCHMARKS[name][0](quick=options.quick)
        print(markdown(found), flush=True)
        print(f"({name}: {time.perf_counter() - began:.0f} s)\n", flush=True)
        results += found
    load.append(os.getloadavg()[0])
    if out is not None:
        _keep(out, "trainer" if whole else "-".join(names), results, _machine(load, quick=options.quick))


def _parser() -> argparse.ArgumentParser:
    described = "\n".join(f"  {name:12} {what}" for name, (_, what) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"benchmarks:\n{described}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Not by choices=: argparse of Python 3.11 compares an empty list with them too.
    parser.add_argument("names", nargs="*", metavar="NAME", type=_known, help="default: trainer")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a figure")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the table (bench/results for all of them)")
    return parser


def _known(name: str) -> str:
    if name not in (*BENCHMARKS, "trainer"):
        raise argparse.ArgumentTypeError(f"{name!r} is none of trainer, {', '.join(BENCHMARKS)}")
    return name


def _machine(load: list[float], *, quick: bool) -> dict[str, object]:
    versions = {name: _version(name) for name in ("torch", "lightning")}
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "quick": quick,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_before_and_after": [round(value, 1) for value in load],
        "python": platform.python_version(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **versions,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _keep(out: Path, name: str, results: list[Result], machine: dict[str, object]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine, "results": [as_json(result) for result in results]}
    (out / f"{name}.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    facts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in machine.items() if value is not None)
    (out / f"{name}.md").write_text(f"{facts}\n\n{markdown(results)}")


if __name__ == "__main__":
    main()
