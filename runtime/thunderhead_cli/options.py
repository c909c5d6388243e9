"""What stands on the command line and cannot be used."""

from __future__ import annotations

from typing import Final

WRONG_COMMAND_LINE: Final = 2
"""Exit code, as of every command of a shell."""


class WrongOption(ValueError):
    """The value of an option cannot be used, whatever the job; the message says which, why and what to write."""
