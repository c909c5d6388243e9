"""Moments as Kubernetes writes them (RFC 3339, UTC) and as we compute with them."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_time(text: str) -> datetime:
    """The moment that ``text`` names.

    Raises:
        ValueError: if it is no RFC 3339 time with a zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time {text!r} has no zone; Kubernetes writes UTC with a Z")
    return moment.astimezone(UTC)


def parse_untrusted(text: str | None) -> datetime | None:
    """As :func:`parse_time`, for text that a pod wrote: None where it is not a time."""
    try:
        return parse_time(text) if text else None
    except (ValueError, OverflowError):
        return None


def stamp(moment: datetime) -> str:
    """Whole seconds, as conditions have them: a value that another pass in the same second would write again."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def fine_stamp(moment: datetime) -> str:
    """Milliseconds, for moments whose difference is reported."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_since(start: str | None, now: datetime) -> float:
    """Seconds from ``start`` to ``now``, never negative; 0 where there is no start."""
    return max(0.0, (now - parse_time(start)).total_seconds()) if start else 0.0
