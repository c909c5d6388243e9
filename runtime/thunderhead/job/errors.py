"""Ends of a run that the job layer must tell apart.

JobError
├── InvalidConfiguration   the job can never run as written; never retried      (exit 78)
│   └── UnsupportedState   something in a state_dict cannot be restored without pickle
├── StorageRefused         the checkpoint store denies us or its bucket is missing (exit 77)
├── StorageUnavailable     the store did not answer for as long as we wait; another attempt may help  (exit 1)
├── NothingRestorable      commits exist, none verifies; never silently from zero  (exit 77)
├── NoAgreement            a peer did not answer when all were to stop together  (exit 69)
├── Superseded             a newer execution owns the job; our late writes do not count (exit 76)
└── Stopped                stopped as asked, with the checkpoint committed          (exit 75)
"""

from __future__ import annotations


class JobError(RuntimeError):
    """Base of every end that the agent maps to an exit code of its own."""


class InvalidConfiguration(JobError):
    """The job can never run as written."""


class UnsupportedState(InvalidConfiguration):
    """A value in the state of module, optimizer, callback or loader that cannot be saved without pickle."""


class StorageRefused(JobError):
    """The checkpoint store refuses us: access denied, no such bucket, wrong endpoint or region."""


class StorageUnavailable(JobError):
    """The checkpoint store did not answer for as long as we wait for it; that may heal, so the job may try again."""


class NothingRestorable(JobError):
    """Commits exist, yet none of them can be read back whole."""


class NoAgreement(JobError):
    """A rank did not answer when all were to agree on a moment; the newest commit stands."""


class Superseded(JobError):
    """A newer execution of the same job has claimed the store."""


class Stopped(JobError):
    """All ranks stopped after the same step and its checkpoint is committed."""
