"""What to do about a module or a name that is not there, for whoever asked for it."""

from __future__ import annotations

import re
import sys
from typing import Final

from thunderhead.compat.names import ROOTS
from thunderhead.exceptions import did_you_mean
from thunderhead_api.extras import needed

SWITCH: Final = (
    'to run it with Thunderhead, set the variable THUNDERHEAD_COMPAT to "1" in the env of the container trainer in '
    "spec.podTemplate, or import thunderhead in its place"
)
PACKAGES: Final = "packages must be in the image (with thunderhead run: in this Python environment)"
_INSTALL: Final = "install it in the job's image (with thunderhead run: in this Python environment)"
_NO_NAME: Final = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")


def remedy(error: BaseException) -> str:
    """What to do about a failed import, as the end of a sentence; nothing for other errors."""
    if isinstance(error, ModuleNotFoundError):
        return f"; {_install(error)}" if error.name else ""
    found = _NO_NAME.match(str(error)) if isinstance(error, ImportError) else None
    module = sys.modules.get(found[2]) if found else None
    if found is None or module is None:
        return ""
    meant = did_you_mean(found[1], (name for name in vars(module) if not name.startswith("_")))
    return f".{meant}" if meant else ""


def _install(error: ModuleNotFoundError) -> str:
    root = (error.name or "").partition(".")[0]
    if root in ROOTS:
        return SWITCH
    sentence = needed(root, error)
    return _INSTALL if sentence is None else f"{_INSTALL}: {sentence.rpartition('; ')[2]}"
