"""Why a call to the API server failed, by what the caller can do about it.

::

    ApiError
    ├── NotFound        404: it is not there (any more)
    ├── AlreadyExists   409 on create: the name is taken
    ├── Conflict        409 otherwise: changed since it was read, or another uid; read again
    ├── Invalid         400, 422: no valid object; trying again is no use
    ├── Forbidden       401, 403: a right, a quota, an admission rule; may heal
    ├── Throttled       429: later, in ``retry_after_s``
    └── Unavailable     5xx, time-out, connection: whether it took effect is unknown
        └── TooLong     an answer of more bytes than were wanted
"""

from __future__ import annotations


class ApiError(Exception):
    """A call to the API server failed; the message is the server's."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        """``retry_after_s``: when the server wants to hear from us again, if it said so."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotFound(ApiError):
    """404."""


class AlreadyExists(ApiError):
    """409 on create."""


class Conflict(ApiError):
    """409 on anything else."""


class Invalid(ApiError):
    """400 or 422."""


class Forbidden(ApiError):
    """401 or 403."""


class Throttled(ApiError):
    """429."""


class Unavailable(ApiError):
    """Everything that says nothing about the effect."""


class TooLong(Unavailable):
    """More bytes than were wanted."""


def error_for(status: int, reason: str, message: str, retry_after_s: float | None = None) -> ApiError:
    """The error for an HTTP status and the ``reason`` of Kubernetes' Status object."""
    kinds: dict[int, type[ApiError]] = {
        400: Invalid,
        401: Forbidden,
        403: Forbidden,
        404: NotFound,
        409: AlreadyExists if reason == "AlreadyExists" else Conflict,
        410: NotFound,
        422: Invalid,
        429: Throttled,
    }
    return kinds.get(status, Unavailable)(message, retry_after_s=retry_after_s)
