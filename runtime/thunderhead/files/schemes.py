"""What opens a path, by how it begins."""

from __future__ import annotations

from thunderhead.files.places import LOCAL, Place, is_url
from thunderhead.files.urls import place_of_url


def place_of(path: str) -> Place:
    """What opens ``path``.

    Raises:
        MisconfigurationException: nothing here does.
    """
    if not is_url(path):
        return LOCAL
    return place_of_url(path)
