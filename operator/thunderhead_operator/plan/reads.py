"""What a pass has to read besides the job and the lists of its children."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reads:
    """Names of ConfigMaps in the job's namespace.

    Attributes:
        code: candidates for the attempt's copy of the code; the first that is there is taken.
        frozen: what remembers the spec of the running attempt.
        compare: the user's code and the copy that runs; now and then is enough.
        namespace: whether the namespace itself is being deleted.
    """

    code: tuple[str, ...] = ()
    frozen: str | None = None
    compare: tuple[str, str] | None = None
    namespace: bool = False
