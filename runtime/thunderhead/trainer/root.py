"""``default_root_dir`` as it was given, and as files are written in it."""

from __future__ import annotations

import os


def in_full(root: str) -> str:
    """The directory without ``~`` and ``..``; URLs stay as they are."""
    return root if "://" in root else os.path.normpath(os.path.expanduser(root))
