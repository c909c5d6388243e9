"""What a checkpoint to begin with says of the module."""

from __future__ import annotations

import os
from typing import Any

from thunderhead.files import file


def described_in(path: str | os.PathLike[str] | None) -> dict[str, Any] | None:
    """The hyperparameters in the file at ``path``, as ``--model`` describes a module; None without file or any.

    Words for a file (best, last) and URLs are not looked up: the run reads those, once.
    """
    if path is None or not os.path.isfile(path):
        return None
    found = dict(file.read(os.fspath(path)).get("hyper_parameters") or {})
    found.pop("_instantiator", None)
    if not found:
        return None
    return {"class_path": found.pop("_class_path"), "dict_kwargs": found} if "_class_path" in found else found
