"""Notes reach the user, whether or not logging was set up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from thunderhead import warning

_NOTE = """
from thunderhead.warning import say
say("first")
"""
_SET_UP = """
import logging
logging.basicConfig(level=logging.{level}, format="set up: %(message)s")
"""
_PART = """
import logging
logging.getLogger("thunderhead.store").info("detail")
logging.getLogger("thunderhead.store").warning("trouble")
"""
_CASES = {
    "nobody set up logging": (_NOTE, "first\n"),
    "logging was set up": (_SET_UP.format(level="INFO") + _NOTE, "set up: first\n"),
    "for warnings only": (_SET_UP.format(level="WARNING") + _NOTE, ""),
    "it is set up later": (_NOTE + _SET_UP.format(level="INFO") + _NOTE, "first\nset up: first\n"),
    "other parts speak too": (_NOTE + _PART, "first\ntrouble\n"),
}


@pytest.mark.parametrize(("script", "heard"), _CASES.values(), ids=_CASES)
def test_notes_are_heard_once(script: str, heard: str) -> None:
    """A note goes to stderr as it is, or to where the user sends logs, at the level that the user wants."""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stderr == heard


def test_other_ranks_say_nothing() -> None:
    """Notes are rank 0's."""
    script = f"import os\nos.environ['RANK'] = '1'{_NOTE}"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stderr == ""


_USER = """
import thunderhead as th
from thunderhead.warning import warn

class Model(th.LightningModule):
    def training_step(self, batch, batch_idx):
        warn("from a step")

    def configure_optimizers(self):
        pass

th.Trainer(
    max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
).fit(Model(), [1]); warn("beside")
"""


def test_a_warning_is_of_the_users_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_USER)
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60)
    assert f"{script}:7: UserWarning: from a step\n" in ran.stderr
    assert f"{script}:14: UserWarning: beside\n" in ran.stderr
    assert "/thunderhead/" not in ran.stderr


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/home/me/train.py", True),
        ("<stdin>", True),
        (warning.__file__, False),
        (warning.__file__.replace("/thunderhead/", "/thunderhead_agent/"), False),
        (torch.nn.Module.__init__.__code__.co_filename, False),
        (os.__file__, False),
        ("<frozen runpy>", False),
        (os.path.join(os.path.dirname(os.__file__), "site-packages", "models", "gpt.py"), True),
    ],
)
def test_whose_code_it_is(file: str, expected: bool) -> None:
    assert warning._is_the_users(file) is expected
