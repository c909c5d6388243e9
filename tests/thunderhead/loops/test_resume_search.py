"""A sample of the search for a file from which a run does not go on as the undisturbed one did."""

from __future__ import annotations

from pathlib import Path

import pytest
from resume_search import search

SEEDS = range(24)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", SEEDS)
def test_any_file_leads_to_the_undisturbed_run(tmp_path: Path, seed: int) -> None:
    assert not (found := search(seed, tmp_path)), "\n".join(found)
