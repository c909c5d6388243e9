"""What a place in an epoch depends on: how a loader cuts its data into batches."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from thunderhead.data.feeds import Feed

Shape = dict[str, Any]


def shape_of(feed: Feed) -> Shape | None:
    """Taken as the loader is made, before any epoch; None where the loader keeps its place itself.

    Of the user's own loader, not of a rank's part of it: another number of ranks is told elsewhere.
    """
    loader = feed.source
    if feed.stateful:
        return None
    if not isinstance(loader, DataLoader):
        return {"batches": _length(loader)}
    sampler = loader.sampler if loader.batch_size is not None else loader.batch_sampler or loader.sampler
    return {
        "batches": _length(loader),
        "batch_size": loader.batch_size,
        "samples": _length(loader.dataset),
        "order": type(sampler).__name__,
    }


def told(shape: Shape) -> str:
    """In a few words."""
    batches, size, samples = shape.get("batches"), shape.get("batch_size"), shape.get("samples")
    words = "batches" if batches is None else f"{batches} batches"
    words += "" if size is None else f" of {size}"
    words += "" if samples is None else f" from {samples} samples"
    return words + (f" by {shape['order']}" if "order" in shape else "")


def _length(sized: object) -> int | None:
    try:
        return len(sized) if isinstance(sized, Sized) else None
    except (TypeError, NotImplementedError):
        return None
