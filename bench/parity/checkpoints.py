"""``.ckpt`` files as data that can be compared."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from bench.parity.record import plain


def content_of(path: Path, root: Path) -> dict[str, Any]:
    """Everything in a file, its paths relative to the run's directory; whether it is plain data throughout."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    try:
        torch.load(path, map_location="cpu", weights_only=True)
        readable = True
    except Exception:  # noqa: BLE001  # it is the answer
        readable = False
    found: dict[str, Any] = relative(plain(content), root)
    return {"loads with weights_only": readable, **found}


def relative(value: Any, root: Path) -> Any:
    """Nested data without the directory that the run lay in."""
    if isinstance(value, str):
        return value.replace(f"{root}{os.sep}", "").replace(str(root), ".")
    if isinstance(value, dict):
        return {relative(key, root): relative(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [relative(item, root) for item in value]
    return value
