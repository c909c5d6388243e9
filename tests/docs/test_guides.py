"""Every guide does what it says, block by block; its commands are run in ``tests/examples``."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from doc_blocks import ROOT, blocks, name
from doc_run import Page

from thunderhead import compat
from thunderhead.distributed.leave import destroy_groups

GUIDES = sorted((ROOT / "docs/guides").glob("*.md"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _one_thread_and_no_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A reader's fresh interpreter in an empty directory."""
    monkeypatch.chdir(tmp_path)
    for variable in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(variable, raising=False)
    threads, level = torch.get_num_threads(), logging.getLogger("thunderhead").level
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    yield
    if torch.distributed.is_initialized():  # whether or not the page ended with an error
        destroy_groups()
    compat.uninstall()
    torch.set_num_threads(threads)
    logging.getLogger("thunderhead").setLevel(level)
    for variable in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        os.environ.pop(variable, None)


@pytest.mark.parametrize("guide", GUIDES, ids=name)
def test_a_guide_does_what_it_says(guide: Path, tmp_path: Path) -> None:
    Page(guide, tmp_path, commands=False).run()


@pytest.mark.parametrize("guide", GUIDES, ids=name)
def test_a_guide_ends_with_what_can_go_wrong(guide: Path) -> None:
    last = guide.read_text().split("\n## ")[-1]
    assert last.startswith("What can go wrong\n")
    start = guide.read_text().index("\n## What can go wrong")
    line = guide.read_text().count("\n", 0, start)
    assert any(block.said and block.line > line for block in blocks(guide)), "show the message one gets"
