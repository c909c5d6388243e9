"""What can go wrong between a user and a cluster, each with subject, value, rule and remedy."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """Something that was asked of a cluster did not come about.

    Attributes:
        subject: what it is about.
        value: what that was.
        rule: what stands against it.
        remedy: what to do.
        status: HTTP status of the API server's answer; 0 where there was none.
    """

    def __init__(self, subject: str, value: Any, rule: str, remedy: str = "", *, status: int = 0) -> None:
        """The message is put together from all four."""
        said = subject if value is None else f"{subject} {value!r}"
        super().__init__(f"{said}: {rule}" + (f"; {remedy}" if remedy else ""))
        self.subject, self.value, self.rule, self.remedy, self.status = subject, value, rule, remedy, status


class WrongKubeconfig(ClientError):
    """No cluster is named, or not in a way that can be used."""


class ClusterUnreachable(ClientError):
    """No answer, or one that says nothing: whether it took effect is unknown."""


class NotAllowed(ClientError):
    """401, 403: who asks may not."""


class NotInstalled(ClientError):
    """The cluster knows no TrainingJobs."""


class JobNotFound(ClientError):
    """There is no such job."""


class ObjectNotFound(ClientError):
    """There is no such object of another kind."""


class JobExists(ClientError):
    """The name is taken."""


class Refused(ClientError):
    """400, 409, 422 and the like: the API server does not take it, or the job is not in a state for it."""


class TookTooLong(ClientError):
    """What was waited for did not come about in time."""
