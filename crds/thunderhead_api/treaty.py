"""Every name that operator and runtime share. Nothing of it is written anywhere else.

Standard library only: the agent's workers read it before anything heavy is imported.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final
from urllib.parse import quote

TREATY_VERSION: Final = 1
"""Raised when a reader of the older version would misunderstand; a reply of another version is ignored."""

GROUP: Final = "thunderhead.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "TrainingJob"
PLURAL: Final = "trainingjobs"
MANAGED_BY: Final = f"{GROUP}/operator"


NODES_MAX: Final = 2_000
"""Pods of one job: what one pass of the operator reads, decides on and creates without keeping other jobs waiting."""


class Label(StrEnum):
    """Labels on every child of a job; the operator's watches select on JOB."""

    JOB = f"{GROUP}/job"
    JOB_UID = f"{GROUP}/job-uid"
    ATTEMPT = f"{GROUP}/attempt"
    NODE_RANK = f"{GROUP}/node-rank"
    APP = "app.kubernetes.io/name"
    PART_OF = "app.kubernetes.io/part-of"
    MANAGER = "app.kubernetes.io/managed-by"


class Annotation(StrEnum):
    """Annotations: RESTART is the user's, on a job, WITHOUT on a pod template, MAKE stands on pods and NetworkPolicies;
    all but these on an attempt's copy of the code, which bears the RESTART that it was made for."""

    RESTART = f"{GROUP}/restart"  # another value: begin a new attempt, with the user's code as it is then
    WITHOUT = f"{GROUP}/without"  # rendered fields that the pod is not to have: see pod_fields
    MAKE = f"{GROUP}/make"  # hashed: of pods what those of one attempt have in common, of a NetworkPolicy its spec
    CODE_HASH = f"{GROUP}/code-hash"
    CODE_FROM = f"{GROUP}/code-from"  # the user's ConfigMap that it was copied from
    SPEC_HASH = f"{GROUP}/spec-hash"  # the spec that it was copied for


class Env(StrEnum):
    """Variables the operator sets in the container ``trainer``; the agent turns them into what PyTorch expects."""

    JOB = "THUNDERHEAD_JOB"
    NAMESPACE = "THUNDERHEAD_NAMESPACE"
    UID = "THUNDERHEAD_UID"
    ATTEMPT = "THUNDERHEAD_ATTEMPT"
    NODE_RANK = "THUNDERHEAD_NODE_RANK"
    NODES = "THUNDERHEAD_NODES"
    RENDEZVOUS_HOST = "THUNDERHEAD_RENDEZVOUS_HOST"
    RENDEZVOUS_PORT = "THUNDERHEAD_RENDEZVOUS_PORT"
    AGENT_PORT = "THUNDERHEAD_AGENT_PORT"
    AGENT_HOST = "THUNDERHEAD_AGENT_HOST"  # address to listen on; all of the pod's unless the local mode says 127.0.0.1
    JOB_FILE = "THUNDERHEAD_JOB_FILE"
    CODE_DIR = "THUNDERHEAD_CODE_DIR"
    POD = "THUNDERHEAD_POD"
    NODE = "THUNDERHEAD_NODE"
    TERMINATION_FILE = "THUNDERHEAD_TERMINATION_FILE"
    KEY_FILE = "THUNDERHEAD_KEY_FILE"  # what the agents of one attempt know each other by; absent for a single node
    RUN_DIR = "THUNDERHEAD_RUN_DIR"  # writable scratch of this pod: boards, logs, CSV files
    RESULTS_DIR = "THUNDERHEAD_RESULTS_DIR"  # of loggers and .ckpt files; RUN_DIR unless the local mode says another
    CGROUP_DIR = "THUNDERHEAD_CGROUP_DIR"  # where the container's cgroup is mounted, for telling out of memory


CONTAINER: Final = "trainer"
AGENT_COMMAND: Final = ("python", "-m", "thunderhead_agent")
AGENT_PORT: Final = 9400
AGENT_PORT_NAME: Final = "agent"
RENDEZVOUS_PORT: Final = 29400
JOB_DIR: Final = "/etc/thunderhead/job"
JOB_FILE_NAME: Final = "job.json"
SPEC_FILE_NAME: Final = "spec.json"
"""Beside the frozen job: what the user wrote, for saying later what of it was changed. No pod reads it."""
CODE_DIR: Final = "/etc/thunderhead/code"
KEY_DIR: Final = "/etc/thunderhead/key"
KEY_FILE_NAME: Final = "attempt.key"
KEY_BYTES: Final = 32
"""Of the key; its file holds twice as many hexadecimal digits."""
RUN_DIR: Final = "/run/thunderhead"
CGROUP_DIR: Final = "/sys/fs/cgroup"
TERMINATION_FILE: Final = "/dev/termination-log"
TERMINATION_MAX_BYTES: Final = 4096

STATUS_PATH: Final = "/status"
STATUS_UID: Final = "uid"
STATUS_ATTEMPT: Final = "attempt"
"""Query of a request for the status: an agent names its job to those alone who name it."""
METRICS_PATH: Final = "/metrics"
HEALTH_PATH: Final = "/healthz"
STATUS_MAX_BYTES: Final = 64 * 1024
STATUS_MAX_METRICS: Final = 32
STATUS_MAX_RANKS: Final = 128
RESUME_NOTES_MAX: Final = 4
STATUS_TIMEOUT_SECONDS: Final = 2.0


def status_target(uid: str, attempt: int) -> str:
    """Path and query of a request for the status of this very attempt."""
    return f"{STATUS_PATH}?{STATUS_UID}={quote(uid, safe='')}&{STATUS_ATTEMPT}={attempt}"


class ExitCode(IntEnum):
    """Exit code of the agent: the fallback where no termination record could be read."""

    DONE = 0
    FAILED = 1  # the user's code failed, also when it exits with one of ours
    PEER_FAILED = 69
    HUNG = 74
    STOPPED = 75
    SUPERSEDED = 76
    STORAGE_REFUSED = 77
    INVALID_CONFIGURATION = 78


class Outcome(StrEnum):
    """How an execution (attempt or round) ended for one pod; the termination record's ``outcome``."""

    DONE = "Done"
    FAILED = "Failed"
    PEER_FAILED = "PeerFailed"
    HUNG = "Hung"
    STOPPED = "Stopped"
    SUPERSEDED = "Superseded"
    STORAGE_REFUSED = "StorageRefused"
    INVALID_CONFIGURATION = "InvalidConfiguration"


EXIT_CODE_OF: Final = {
    Outcome.DONE: ExitCode.DONE,
    Outcome.FAILED: ExitCode.FAILED,
    Outcome.PEER_FAILED: ExitCode.PEER_FAILED,
    Outcome.HUNG: ExitCode.HUNG,
    Outcome.STOPPED: ExitCode.STOPPED,
    Outcome.SUPERSEDED: ExitCode.SUPERSEDED,
    Outcome.STORAGE_REFUSED: ExitCode.STORAGE_REFUSED,
    Outcome.INVALID_CONFIGURATION: ExitCode.INVALID_CONFIGURATION,
}
OUTCOME_OF: Final = {int(code): outcome for outcome, code in EXIT_CODE_OF.items()}


class Cause(StrEnum):
    """Why an execution ended: ``cause`` of a ledger entry, of ``status.ending`` and of failure rules (``reasons``)."""

    COMPLETED = "Completed"
    PROCESS_FAILED = "ProcessFailed"  # a rank exited or raised
    PROCESS_KILLED = "ProcessKilled"  # a rank died by a signal
    OUT_OF_MEMORY = "OutOfMemory"
    HUNG = "Hung"
    POD_FAILED = "PodFailed"  # the container ended without a record we can read
    POD_DELETED = "PodDeleted"
    NODE_LOST = "NodeLost"
    DRAINED = "Drained"
    PREEMPTED = "Preempted"
    EVICTED = "Evicted"
    SUSPENDED = "Suspended"
    SPEC_CHANGED = "SpecChanged"
    RESTART_REQUESTED = "RestartRequested"  # the job's annotation thunderhead.dev/restart has another value
    SUPERSEDED = "Superseded"
    INVALID_CONFIGURATION = "InvalidConfiguration"
    STORAGE_REFUSED = "StorageRefused"
    STARTUP_DEADLINE = "StartupDeadlineExceeded"
    ACTIVE_DEADLINE = "ActiveDeadlineExceeded"


FREE_CAUSES: Final = frozenset(
    {
        Cause.POD_DELETED,
        Cause.NODE_LOST,
        Cause.DRAINED,
        Cause.PREEMPTED,
        Cause.EVICTED,
        Cause.SUSPENDED,
        Cause.SPEC_CHANGED,
        Cause.RESTART_REQUESTED,
        Cause.SUPERSEDED,
    }
)
"""Causes that never consume the restart budget unless a rule of the job says otherwise."""

FINAL_CAUSES: Final = frozenset(
    {Cause.INVALID_CONFIGURATION, Cause.STORAGE_REFUSED, Cause.STARTUP_DEADLINE, Cause.ACTIVE_DEADLINE}
)
"""Causes after which another attempt cannot help: the job is Failed, the budget untouched."""


class ConditionType(StrEnum):
    """Condition types of a job, in the order they are written."""

    COMPLETE = "Complete"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    BLOCKED = "Blocked"
    CODE_CHANGED = "CodeChanged"


class Phase(StrEnum):
    """Summary column for people, derived from the conditions; not a contract."""

    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    BLOCKED = "Blocked"
    COMPLETE = "Complete"
    FAILED = "Failed"
