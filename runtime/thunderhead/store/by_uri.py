"""The store that a URI names: above the kinds of stores, none of which knows another."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from thunderhead.job.errors import InvalidConfiguration
from thunderhead.store.files import FileStore
from thunderhead.store.objects import ObjectStore
from thunderhead_api.extras import needed


def open_store(
    uri: str, *, endpoint: str | None = None, region: str | None = None, secret: str | None = None
) -> ObjectStore:
    """The store a URI names: ``s3://bucket[/prefix]`` or ``file:///path``.

    Args:
        uri: the root; every key is relative to it.
        endpoint: URL of an S3-compatible server; ``None`` means AWS, or what the environment says.
        region: S3 region; ``None`` means what the environment says.
        secret: name of the Secret that a job's credentials come from, for messages.

    Raises:
        InvalidConfiguration: another scheme, no bucket, a relative path.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return FileStore(os.path.normpath(parts.path))
    if parts.scheme == "s3" and parts.netloc:
        try:  # boto3 takes half a second to import, so only those who use S3 pay for it
            from thunderhead.store.s3 import S3Store
        except ModuleNotFoundError as error:
            raise InvalidConfiguration(needed(f"the checkpoint URI {uri!r}", error) or str(error)) from error

        return S3Store(parts.netloc, parts.path.strip("/"), endpoint=endpoint, region=region, secret=secret)
    hint = f"; did you mean 'file://{uri}'?" if uri.startswith("/") else ""
    raise InvalidConfiguration(
        f"checkpoint URI {uri!r} is not one that we can open; write s3://bucket/prefix, or file:///absolute/path{hint}"
    )
