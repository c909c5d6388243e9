"""``python -m bench.parity``: both trainers through the whole matrix; ends with 1 where a difference is unexplained.

It does so, too, where an explanation explains nothing any more: it would hide the next difference.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.parity.cases import CASES
from bench.parity.crossing import crossings
from bench.parity.crossing import table as crossing_table
from bench.parity.ranks import Ranks
from bench.parity.report import Outcome, idle, judge, write


def main() -> int:
    """Run, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m bench.parity", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench/results"), help="folder for the JSON and the table")
    parser.add_argument("--only", default="", help="cases whose name holds this text; keeps no results")
    parser.add_argument("--show", type=int, default=0, help="print this many differences of each case")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder, Ranks() as ranks:
        for number, case in enumerate(case for case in CASES if options.only in case.name):
            outcome = judge(case, Path(folder) / str(number), ranks)
            outcomes.append(outcome)
            print(outcome.line(), flush=True)
            for difference in outcome.unexplained[: options.show]:
                print(f"    rank {difference.rank}: {difference.path}")
                print(f"      ours   {difference.ours!r:.600}\n      theirs {difference.theirs!r:.600}")
        if options.only:
            return int(not all(outcome.good for outcome in outcomes))
        write(outcomes, options.out)
        crossed = crossings(Path(folder) / "crossing")
    print("\n".join(crossing.line() for crossing in crossed))
    (options.out / "parity-files.md").write_text(crossing_table(crossed))
    unused = idle(outcomes)
    for pattern in unused:
        print(f"STALE EXPLANATION everywhere of {pattern}")
    good = all(outcome.good for outcome in outcomes) and all(crossing.same for crossing in crossed)
    return int(bool(unused) or not good)


if __name__ == "__main__":
    sys.exit(main())
