"""The exit code of a command that stands for a job."""

from __future__ import annotations

from typing import Final

from thunderhead_api.conditions import is_true
from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import Cause, ConditionType, ExitCode

INTERRUPTED: Final = 130  # 128 + SIGINT: killed by the user before its checkpoint
_EXIT_CODES: Final = {
    Cause.INVALID_CONFIGURATION: ExitCode.INVALID_CONFIGURATION,
    Cause.STORAGE_REFUSED: ExitCode.STORAGE_REFUSED,
}


def is_held(status: TrainingJobStatus) -> bool:
    """Whether no attempt is promised because none could go on with the job as the file has it now."""
    return status.attempt_started_at is None and is_true(status.conditions, ConditionType.BLOCKED)


def exit_code(status: TrainingJobStatus, *, killed: bool = False) -> int:
    """0 complete · 75 stopped, to be continued · 78 and 77 as in the treaty · 1 failed otherwise · 130 cut off."""
    if is_true(status.conditions, ConditionType.COMPLETE):
        return ExitCode.DONE
    if is_true(status.conditions, ConditionType.FAILED):
        last = status.ledger[-1].cause if status.ledger else None
        return _EXIT_CODES.get(last, ExitCode.FAILED) if last is not None else ExitCode.FAILED
    if is_held(status) and not killed:
        return ExitCode.INVALID_CONFIGURATION
    return ExitCode.STOPPED if is_true(status.conditions, ConditionType.SUSPENDED) and not killed else INTERRUPTED
