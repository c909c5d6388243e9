"""Where ``.ckpt`` files cannot go is said before training, not after hours of it."""

from __future__ import annotations

import pytest

from thunderhead.callbacks import ModelCheckpoint
from thunderhead.exceptions import MisconfigurationException


def test_a_url_is_refused_at_once() -> None:
    with pytest.raises(MisconfigurationException, match=r"dirpath='s3://bucket/x'.*spec.checkpoint.uri"):
        ModelCheckpoint(dirpath="s3://bucket/x")
