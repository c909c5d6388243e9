"""Training jobs of a cluster from Python: ``from thunderhead_client import Jobs``.

Nothing of a Kubernetes client is imported before a cluster is reached.
"""

from thunderhead_client.errors import (
    ClientError,
    ClusterUnreachable,
    JobExists,
    JobNotFound,
    NotAllowed,
    NotInstalled,
    Refused,
    TookTooLong,
    WrongKubeconfig,
)
from thunderhead_client.job import Job
from thunderhead_client.jobs import Jobs
from thunderhead_client.waiting import Change, Until

__all__ = [
    "Change",
    "ClientError",
    "ClusterUnreachable",
    "Job",
    "JobExists",
    "JobNotFound",
    "Jobs",
    "NotAllowed",
    "NotInstalled",
    "Refused",
    "TookTooLong",
    "Until",
    "WrongKubeconfig",
]
