"""Conditions of a job: their reasons, and the one function that sets them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from thunderhead_api.status import Condition
from thunderhead_api.treaty import ConditionType

MESSAGE_MAX: Final = 4096


class Reason(StrEnum):
    """Reasons of conditions that are not a :class:`~thunderhead_api.treaty.Cause`.

    ``Failed`` and ``Restarting`` carry the cause itself where one attempt's end explains them.
    """

    COMPLETED = "Completed"
    # Failed
    RESTARTS_EXHAUSTED = "RestartsExhausted"  # maxRestarts + 1 charged executions
    FAILED_BY_RULE = "FailedByRule"  # a rule of restarts.rules said Fail
    SAME_FAILURE = "SameFailure"  # the same exception again, at the same step, with no new step since
    NO_PROGRESS = "NoProgress"  # attempt after attempt ended without a new step
    INVALID_SPEC = "InvalidSpec"  # the object predates the schema, or was written past it; Blocked once it has begun
    # Suspended
    SUSPEND_REQUESTED = "SuspendRequested"  # pods are being stopped after a checkpoint
    SUSPENDED = "Suspended"
    NOT_SUSPENDED = "NotSuspended"
    # Running
    WAITING_FOR_PODS = "WaitingForPods"
    WAITING_FOR_RANKS = "WaitingForRanks"  # pods run, the rendezvous is not complete
    TRAINING = "Training"
    ENDING = "Ending"  # the attempt is being taken down
    FINISHED = "Finished"
    # Restarting
    RECOVERED = "Recovered"
    NOT_RESTARTING = "NotRestarting"
    # Blocked: things that heal
    QUOTA_EXCEEDED = "QuotaExceeded"
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    SECRET_MISSING = "SecretMissing"
    SERVICE_ACCOUNT_MISSING = "ServiceAccountMissing"
    FORBIDDEN = "Forbidden"  # admission or RBAC refused a child
    NAME_TAKEN = "NameTaken"  # another owner's object has the name of a child
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    UNSCHEDULABLE = "Unschedulable"
    RESOURCE_CLAIM_MISSING = "ResourceClaimMissing"  # dynamic resource allocation: the scheduler says nothing of it
    CANNOT_CONTINUE = "CannotContinue"  # what the job has saved does not fit the changed spec
    POLICY_DENIED = "PolicyDenied"  # the site's policy denies something of podTemplate
    INVALID_POD = "InvalidPod"  # the API server calls a pod of the spec invalid
    NOT_BLOCKED = "NotBlocked"
    # CodeChanged: the user's ConfigMap is not what the job runs
    CODE_EDITED = "CodeEdited"
    CODE_DELETED = "CodeDeleted"
    SAME_CODE = "SameCode"


def set_condition(
    conditions: Sequence[Condition],
    type_: ConditionType,
    status: bool | None,
    *,
    reason: str,
    message: str,
    generation: int,
    now: str,
) -> list[Condition]:
    """The list with this condition set, in the order of :class:`ConditionType`.

    ``lastTransitionTime`` becomes ``now`` (RFC 3339) only when ``status`` (None: Unknown) differs from before, so that
    it says since when; a new reason or message leaves it. A message too long for the API is cut.
    """
    before = find_condition(conditions, type_)
    value = "Unknown" if status is None else str(status)
    since = before.last_transition_time if before is not None and before.status == value else now
    condition = Condition(
        type=type_.value,
        status=value,
        observed_generation=generation,
        last_transition_time=since,
        reason=reason,
        message=message if len(message) <= MESSAGE_MAX else message[: MESSAGE_MAX - 1] + "…",
    )
    return in_order([condition, *(c for c in conditions if c.type != type_.value)])


def find_condition(conditions: Iterable[Condition], type_: ConditionType) -> Condition | None:
    """The condition of this type, if it was ever set."""
    return next((c for c in conditions if c.type == type_.value), None)


def is_true(conditions: Iterable[Condition], type_: ConditionType) -> bool:
    """Whether the condition is there and True."""
    condition = find_condition(conditions, type_)
    return condition is not None and condition.status == "True"


def is_finished(conditions: Iterable[Condition]) -> bool:
    """Whether the job has come to its end, one way or the other; nothing revives it."""
    return any(c.type in (ConditionType.COMPLETE, ConditionType.FAILED) and c.status == "True" for c in conditions)


def in_order(conditions: Iterable[Condition]) -> list[Condition]:
    """Ours in the order of :class:`ConditionType`, then others by name, so that equal sets are equal lists."""
    order = {type_.value: place for place, type_ in enumerate(ConditionType)}
    return sorted(conditions, key=lambda c: (order.get(c.type, len(order)), c.type))
