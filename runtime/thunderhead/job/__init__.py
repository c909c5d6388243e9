"""The seam between a trainer and the job it runs in; see ``thunderhead.job.link``.

A worker calls :func:`attach` before user code makes a Trainer. Every Trainer made afterwards in this process reports to
that link and takes its job checkpoints through it; scripts need not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thunderhead.job.link import JobLink

_attached: JobLink | None = None


def attach(link: JobLink | None) -> None:
    """Make ``link`` the job of this process; ``None`` detaches it."""
    global _attached
    _attached = link


def attached() -> JobLink | None:
    """The job this process runs in, if any."""
    return _attached
