"""The commands of guides and quickstart, carried out: torchrun, a script by hand, jobs, scripts for Lightning."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from thunderhead import compat

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/docs"))

from doc_run import Page  # noqa: E402 - the harness of the pages' other tests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("page", ["docs/guides/devices.md", "docs/guides/migrating.md", "docs/quickstart.md"])
def test_commands_of_a_page(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.delenv(variable, raising=False)
    try:
        Page(ROOT / page, tmp_path, commands=True).run()
    finally:
        compat.uninstall()
        for variable in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
            os.environ.pop(variable, None)
