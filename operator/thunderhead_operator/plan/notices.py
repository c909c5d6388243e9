"""Events for people, from the difference that a status write makes. Reasons are UpperCamelCase verbs in the past."""

from __future__ import annotations

from collections.abc import Iterator

from thunderhead_api.conditions import find_condition, is_true
from thunderhead_api.status import GivenUp, TrainingJobStatus
from thunderhead_api.treaty import Cause, ConditionType
from thunderhead_operator.plan.actions import Notice
from thunderhead_operator.plan.context import nodes_of
from thunderhead_operator.plan.given_up import sentence


def notices(before: TrainingJobStatus, after: TrainingJobStatus) -> tuple[Notice, ...]:
    """What happened between the two, in the order it happened."""
    return (
        *_ending(before, after),
        *_attempt(before, after),
        *_skipped(before, after),
        *_not_finite(before, after),
        *_conditions(before, after),
    )


def _attempt(before: TrainingJobStatus, after: TrainingJobStatus) -> Iterator[Notice]:
    if after.attempt != before.attempt:
        yield Notice("AttemptStarted", f"attempt {after.attempt} with {nodes_of(after)} nodes")
        if after.changes:
            yield Notice("SpecChanged", f"attempt {after.attempt} has a changed spec: {'; '.join(after.changes)}")
    elif after.code_hash != before.code_hash:
        ran = _code_before(after)
        if None not in (ran, after.code_hash) and ran != after.code_hash:
            yield Notice("CodeTaken", f"attempt {after.attempt} runs code {after.code_hash}, the one before ran {ran}")
    told = after.given_up or (after.ledger[-1].given_up if len(after.ledger) > len(before.ledger) else None)
    if told is not None and told not in (before.given_up, *(entry.given_up for entry in before.ledger)):
        yield Notice("CheckpointGivenUp", f"attempt {_told_by(after, told)} {sentence(told)}", warning=True)
    for text in after.resume_notes:
        if text not in before.resume_notes:
            yield Notice("ResumedAfterEdit", f"attempt {after.attempt}: {text}", warning=True)


def _told_by(status: TrainingJobStatus, told: GivenUp) -> int:
    return status.attempt if status.given_up == told else status.ledger[-1].attempt


def _code_before(status: TrainingJobStatus) -> str | None:
    return next((entry.code_hash for entry in reversed(status.ledger) if entry.code_hash), None)


def _ending(before: TrainingJobStatus, after: TrainingJobStatus) -> Iterator[Notice]:
    ending = after.ending
    if ending is None or before.ending is not None:
        return
    culprit = ending.culprit
    where = f" by {culprit.pod}" if culprit and culprit.pod else ""
    said = f": {culprit.message}" if culprit and culprit.message else ""
    cost = "final" if ending.final else "free" if ending.free else "charged"
    asked = ending.cause in (Cause.SUSPENDED, Cause.SPEC_CHANGED, Cause.RESTART_REQUESTED)
    yield Notice("AttemptEnded", f"attempt {after.attempt}: {ending.cause}{where} ({cost}){said}", warning=not asked)


def _skipped(before: TrainingJobStatus, after: TrainingJobStatus) -> Iterator[Notice]:
    """Told when it begins and when it is over, not for every checkpoint in between."""
    skipped, were = _in_a_row(after), _in_a_row(before)
    now = after.progress.skipped_checkpoints if after.progress else None
    if skipped and not were and now is not None:
        yield Notice("CheckpointSkipped", f"training goes on without a checkpoint: {now.why}", warning=True)
    if were and not skipped and now is not None and after.attempt == before.attempt:
        yield Notice("CheckpointsResumed", f"the store takes checkpoints again; {now.total} were skipped")


def _not_finite(before: TrainingJobStatus, after: TrainingJobStatus) -> Iterator[Notice]:
    step = after.progress.non_finite_step if after.progress else None
    if step is not None and (before.progress is None or before.progress.non_finite_step is None):
        said = f"the loss of step {step}, or a parameter after it, is no finite number; training goes on, and"
        yield Notice("NotFinite", f"{said} the newest checkpoint from before, if there is one, is kept", warning=True)


def _in_a_row(status: TrainingJobStatus) -> int:
    skipped = status.progress.skipped_checkpoints if status.progress else None
    return skipped.in_a_row if skipped else 0


def _conditions(before: TrainingJobStatus, after: TrainingJobStatus) -> Iterator[Notice]:
    for type_, reason, warning in (
        (ConditionType.SUSPENDED, "Suspended", False),
        (ConditionType.BLOCKED, "Blocked", True),
        (ConditionType.CODE_CHANGED, "CodeChanged", True),
        (ConditionType.RUNNING, "Running", False),
        (ConditionType.COMPLETE, "Completed", False),
        (ConditionType.FAILED, "Failed", True),
    ):
        if is_true(after.conditions, type_) and not is_true(before.conditions, type_):
            condition = find_condition(after.conditions, type_)
            assert condition is not None
            why = f"{condition.reason}: " if warning else ""
            yield Notice(reason, why + condition.message, warning)
