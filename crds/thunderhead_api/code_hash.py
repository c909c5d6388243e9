"""The hash that says which Python files an attempt ran."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

HASH_HEX_DIGITS: Final = 16


def code_hash(files: Mapping[str, str], binary: Mapping[str, str] | None = None) -> str:
    """16 hexadecimal digits over names and contents; ``binary`` as a ConfigMap has it, in base64."""
    digest = hashlib.sha256()
    for kind, contents in (("text", files), ("binary", binary or {})):
        for name, content in sorted(contents.items()):
            for part in (kind, name, content):
                raw = part.encode(errors="surrogatepass")
                digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()[:HASH_HEX_DIGITS]


def changed_files(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Names of files that one side alone has, or that differ; in order."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
