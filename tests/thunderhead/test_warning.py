"""Notes reach the user, whether or not logging was set up."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
