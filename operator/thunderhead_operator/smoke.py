"""``python -m thunderhead_operator.smoke http://…/metrics``: what `helm test` asks of an installed operator."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Final
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

_FOR_S: Final = 60.0
_EVERY_S: Final = 1.0
_LISTED_WITHIN_S: Final = 180.0
"""A listing is made once a minute; two may be missed."""


def complaints(metrics: str) -> list[str]:
    """What is wrong with an operator that exports ``metrics``, Prometheus' text; empty: nothing."""
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if not sample.labels
    }
    found = []
    if values.get("thunderhead_operator_lease_held") != 1:
        found.append("the operator does not hold its Lease: another one does, or it may not write it (rbac.create)")
    if not 0 <= values.get("thunderhead_operator_resync_age_seconds", -1) < _LISTED_WITHIN_S:
        found.append("the operator has not listed jobs and pods: is the definition installed, may it list them?")
    return found


def _fetch(url: str) -> str:
    with urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def main(
    argv: Sequence[str],
    *,
    fetch: Callable[[str], str] = _fetch,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """0 as soon as nothing is wrong; 1 with what still is after a minute."""
    (url,) = argv
    ends_at = monotonic() + _FOR_S
    while True:
        try:
            wrong = complaints(fetch(url))
        except (OSError, HTTPException, ValueError) as error:
            wrong = [f"{url} gives no metrics: {type(error).__name__}: {error}"]
        if not wrong:
            print("the operator holds its Lease and has listed jobs and pods")
            return 0
        if monotonic() >= ends_at:
            print("\n".join(wrong), file=sys.stderr)
            return 1
        sleep(_EVERY_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
