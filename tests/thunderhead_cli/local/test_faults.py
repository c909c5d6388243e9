"""When a fault on purpose strikes."""

from __future__ import annotations

import pytest

from thunderhead_cli.local.faults import KillPod, parse_kill


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1@50%", KillPod(1, percent=50)),
        ("0@200", KillPod(0, step=200)),
        ("0@1step", KillPod(0, step=1)),
        ("1@7steps", KillPod(1, step=7)),
    ],
)
def test_forms(text: str, fault: KillPod) -> None:
    assert parse_kill(text, nodes=2) == fault


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1", "must be NODE@PERCENT% or NODE@STEP"),
        ("x@50%", "must be NODE@"),
        ("2@50%", "the job has 2 nodes; choose a node from 0 to 1"),
        ("1@100%", "choose a lower share"),
    ],
)
def test_refusals_name_the_rule(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="--kill-pod") as caught:
        parse_kill(text, nodes=2)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "step", "percent", "due"),
    [
        (KillPod(0, percent=50), 10, 49, False),
        (KillPod(0, percent=50), 10, 50, True),
        (KillPod(0, percent=50), 10, None, False),
        (KillPod(0, step=10), 9, 99, False),
        (KillPod(0, step=10), 10, None, True),
    ],
)
def test_due(fault: KillPod, step: int, percent: int | None, due: bool) -> None:
    assert fault.is_due(step=step, percent=percent) is due
