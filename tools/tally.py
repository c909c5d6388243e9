"""Counts the tests of JUnit reports. Prints ``N passed, N failed`` as its last line; exit code 1 if any failed.

usage: python tools/tally.py REPORT.xml …
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree


def tally(report: Path) -> Counter[str]:
    """Tests of one report by outcome. A report that is missing or broken is a failure: its tests did not pass."""
    try:
        cases = list(ElementTree.parse(report).iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        print(f"{report}: no usable report: {error}")
        return Counter(failed=1)
    return Counter(_outcome(case) for case in cases)


def _outcome(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def main(words: Sequence[str]) -> int:
    """Count, print, judge."""
    total: Counter[str] = Counter()
    for report in map(Path, words):
        counts = tally(report)
        print(f"{report.stem}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
        total += counts
    print(f"{total['passed']} passed, {total['failed']} failed")
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
