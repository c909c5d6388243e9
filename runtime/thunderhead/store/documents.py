"""Sealed JSON: one object whose last member is the SHA-256 of everything before it.

Plain JSON to any reader, and a flipped bit or a cut anywhere is found before a field is believed.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from thunderhead.store.objects import Corrupt

_MEMBER: Final = b',"sha256":"'
_SEAL_BYTES: Final = len(_MEMBER) + 64 + len(b'"}')


def seal(document: dict[str, Any]) -> bytes:
    """``document`` (not empty, no NaN) as sealed JSON."""
    assert document, "an empty document has nothing to seal"
    plain = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    return plain[:-1] + _MEMBER + hashlib.sha256(plain).hexdigest().encode() + b'"}'


def unseal(body: bytes, subject: str) -> dict[str, Any]:
    """The document that :func:`seal` was given.

    Raises:
        Corrupt: any byte is missing or changed, or it was never such a document; ``subject`` names the object in the
            message.
    """
    plain = body[:-_SEAL_BYTES] + b"}"
    expected = _MEMBER + hashlib.sha256(plain).hexdigest().encode() + b'"}'
    if len(body) <= _SEAL_BYTES or body[-_SEAL_BYTES:] != expected:
        raise Corrupt(f"{subject}: {len(body)} bytes do not match the SHA-256 they end with")
    try:
        document = json.loads(plain, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"{subject}: sealed, and no JSON that we read: {error}") from error
    if type(document) is not dict:
        raise Corrupt(f"{subject}: sealed, and no object but a {type(document).__name__}")
    return document


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
