"""What `helm test` asks of an operator."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from thunderhead_operator.smoke import complaints, main

WELL = "thunderhead_operator_lease_held 1.0\nthunderhead_operator_resync_age_seconds 12.5\n"


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (WELL, []),
        (WELL.replace("held 1.0", "held 0.0"), ["does not hold its Lease"]),
        (WELL.replace("12.5", "600"), ["has not listed"]),
        ("", ["does not hold its Lease", "has not listed"]),
    ],
    ids=["well", "waits for the lease", "lists nothing", "another program"],
)
def test_what_is_wrong_is_said(metrics: str, said: list[str]) -> None:
    found = complaints(metrics)
    assert len(found) == len(said)
    assert all(part in whole for part, whole in zip(said, found, strict=True))


def run(fetch: Callable[[str], str]) -> tuple[int, list[float]]:
    slept: list[float] = []
    status = main(["http://x/metrics"], fetch=fetch, monotonic=lambda: sum(slept), sleep=slept.append)
    return status, slept


def test_it_waits_for_an_operator_that_starts() -> None:
    answers = iter([OSError("refused"), "", WELL])

    def fetch(url: str) -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert run(fetch) == (0, [1.0, 1.0])


def test_it_waits_a_minute_and_no_longer(capsys: pytest.CaptureFixture[str]) -> None:
    def fetch(url: str) -> str:
        raise OSError("refused")

    status, slept = run(fetch)
    assert (status, sum(slept)) == (1, 60.0)
    assert "http://x/metrics gives no metrics: OSError: refused" in capsys.readouterr().err
