"""``lightning_utilities`` knows the rank, and its decorator is the one that Lightning's names lead to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ORDERS = {
    "lightning first": (
        "import lightning; from lightning_utilities.core.rank_zero import rank_zero_only, rank_zero_info"
    ),
    "utilities first": (
        "from lightning_utilities.core.rank_zero import rank_zero_only, rank_zero_info; import lightning"
    ),
    "utilities before the switch": "",
}
CODE = """
{first}
import thunderhead.compat
thunderhead.compat.install()
{imports}
import lightning_utilities.core.rank_zero as module
from lightning_utilities.core.rank_zero import rank_zero_only, rank_zero_info
from lightning.pytorch.utilities import rank_zero_only as ours
assert module.rank_zero_only is ours

@rank_zero_only
def hello():
    print("hello", rank_zero_only.rank)

hello()
rank_zero_info("said")
{then}
"""


def run(code: str, tmp_path: Path, **environ: str) -> str:
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "runtime"), "PYTHONWARNINGS": "ignore", **environ}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("order", ORDERS)
def test_it_is_told_the_rank(order: str, tmp_path: Path) -> None:
    first = "import lightning_utilities.core.rank_zero as before" if "before" in order else ""
    own = "before.rank_zero_only(lambda: print('own'))()" if first else ""
    code = CODE.format(first=first, imports=ORDERS[order], then=own)
    assert run(code, tmp_path).splitlines()[0] == "hello 0"
    for variable in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        assert run(code, tmp_path, **{variable: "3"}) == ""


def test_its_own_comes_back(tmp_path: Path) -> None:
    code = (
        "import thunderhead.compat as c, lightning_utilities.core.rank_zero as m; own = m.rank_zero_only\n"
        "c.install(); assert m.rank_zero_only is not own\nc.uninstall(); assert m.rank_zero_only is own"
    )
    assert run(code, tmp_path) == ""


def test_who_does_not_use_it_does_not_import_it(tmp_path: Path) -> None:
    code = (
        "import sys, thunderhead.compat as c; c.install(); import lightning.pytorch.utilities\n"
        "print([n for n in sys.modules if n.startswith('lightning_utilities')])"
    )
    assert run(code, tmp_path) == "[]"
