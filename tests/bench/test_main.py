"""The benchmarks' command line."""

from __future__ import annotations

import pytest

from bench.__main__ import _parser


@pytest.mark.parametrize("given", [[], ["trainer"], ["calls", "import"]])
def test_names(given: list[str]) -> None:
    assert _parser().parse_args(given).names == given


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["call"])
    assert "'call' is none of trainer, step-cost," in capsys.readouterr().err
