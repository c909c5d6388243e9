"""Names of a job and of everything made for it.

A job's name is at most 40 characters so that the names of pods and Service are DNS labels (63): the longest is a pod's,
``<job>-<attempt>-<node rank>``, which leaves 17 digits for the attempt beside the 4 of the largest node rank. Read from
the right, every name belongs to one job only: job ``a`` and job ``a-1`` never name the same pod or ConfigMap.
"""

from __future__ import annotations

import re
from typing import Final

JOB_NAME_MAX: Final = 40
_UID_PART: Final = 8
JOB_NAME_PATTERN: Final = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
KEY_SECRET_PATTERN: Final = r"-[0-9]+-[0-9a-f]{8}-key$"
"""Ends the name of every attempt's key, of whichever job."""
_JOB_NAME: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def job_name_problem(name: str) -> str | None:
    """The rule that ``name`` breaks, or None if a job may be called so."""
    if len(name) > JOB_NAME_MAX:
        return f"must be at most {JOB_NAME_MAX} characters, so that the names of its pods fit (it has {len(name)})"
    if not _JOB_NAME.fullmatch(name):
        return "must begin with a letter, hold only a-z, 0-9 and '-', and not end with '-'"
    return None


def pod_name(job: str, attempt: int, node_rank: int) -> str:
    """Name and hostname of the pod of ``node_rank`` in ``attempt``."""
    return f"{job}-{attempt}-{node_rank}"


def job_config_map_name(job: str, uid: str, attempt: int) -> str:
    """ConfigMap that holds the frozen job of ``attempt``.

    It is immutable, and a kubelet that still holds a pod of a deleted job of the same name would go on serving that
    job's content: so the name tells the jobs apart.
    """
    return f"{job}-{attempt}-{uid[:_UID_PART]}"


def code_config_map_name(job: str, uid: str, attempt: int) -> str:
    """ConfigMap that holds the user's files of ``attempt``; there is none when the code is in the image."""
    return f"{job_config_map_name(job, uid, attempt)}-code"


def key_secret_name(job: str, uid: str, attempt: int) -> str:
    """Secret that holds the key of ``attempt``; there is none for a job of one node."""
    return f"{job_config_map_name(job, uid, attempt)}-key"


def service_name(job: str) -> str:
    """Headless Service of the job, and the subdomain of its pods."""
    return job


def network_policy_name(job: str) -> str:
    """NetworkPolicy of the job."""
    return job


def rendezvous_host(job: str, attempt: int, namespace: str) -> str:
    """Name under which the pods of ``attempt`` find node 0."""
    return f"{pod_name(job, attempt, 0)}.{service_name(job)}.{namespace}.svc"


def storage_root(uri: str, namespace: str, job: str, uid: str) -> str:
    """Address below which everything lies that the job stores; ``uri``: its ``checkpoint.uri``."""
    return f"{uri.rstrip('/')}/{namespace}/{job}/{uid}"
