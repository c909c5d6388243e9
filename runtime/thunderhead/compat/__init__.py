"""Scripts written for Lightning, run unedited: its module names resolve to Thunderhead.

Any one of these, before the first ``import lightning``, makes ``lightning``, ``lightning.pytorch``,
``lightning.fabric``, ``pytorch_lightning`` and ``lightning_fabric`` with their public submodules mean us:

- the call ``thunderhead.compat.install()``
- the environment variable ``THUNDERHEAD_COMPAT=1``, read when Python starts
- the switch ``python -m thunderhead.compat script.py``

An installed Lightning is left alone: a finder stands before Python's own, and it is merely not found. In
``lightning_utilities``, which Lightning tells the rank of the process, ``rank_zero_only`` is ours meanwhile.
A name that Lightning has and we have not can be imported; using it raises an error that says what to use instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from thunderhead.compat import shared_rank
from thunderhead.compat.finder import AliasFinder
from thunderhead.compat.names import ROOTS
from thunderhead.exceptions import MisconfigurationException

__all__ = ["VARIABLE", "install", "install_if_asked", "is_installed", "uninstall"]

VARIABLE = "THUNDERHEAD_COMPAT"
_YES, _NO = ("1", "true", "yes", "on", "lightning"), ("", "0", "false", "no", "off")


def install() -> None:
    """Make Lightning's module names resolve to Thunderhead in this process; once is enough.

    Raises:
        MisconfigurationException: Lightning itself has been imported already, so names of both would mix.
    """
    if is_installed():
        return
    foreign = sorted(name for name in sys.modules if name in ROOTS)
    if foreign:
        raise MisconfigurationException(
            f"thunderhead.compat.install() comes too late: {foreign[0]!r} was imported before it. Call it first, or "
            f"set {VARIABLE}=1, or start with python -m thunderhead.compat"
        )
    sys.meta_path.insert(0, AliasFinder())
    shared_rank.share()


def uninstall() -> None:
    """Undo ``install``: the names mean again what is installed under them."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, AliasFinder)]
    shared_rank.leave()
    for name in [name for name in sys.modules if name.partition(".")[0] in ROOTS]:
        del sys.modules[name]


def is_installed() -> bool:
    """Whether the names resolve to Thunderhead."""
    return any(isinstance(finder, AliasFinder) for finder in sys.meta_path)


def install_if_asked(environ: Mapping[str, str] = os.environ) -> None:
    """``install``, if ``THUNDERHEAD_COMPAT`` says so.

    Raises:
        MisconfigurationException: it says neither yes nor no.
    """
    value = environ.get(VARIABLE, "").strip().lower()
    if value in _YES:
        install()
    elif value not in _NO:
        raise MisconfigurationException(f"{VARIABLE}={environ[VARIABLE]!r} is neither 1 nor 0")
