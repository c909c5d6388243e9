"""The termination record: the last words of this pod, at most 4,096 bytes of valid JSON whatever happened."""

from __future__ import annotations

import os
from pathlib import Path

from thunderhead_agent.snapshot import Snapshot, bounded_metrics, rfc3339
from thunderhead_agent.wire import Verdict
from thunderhead_api.messages import TerminationRecord
from thunderhead_api.treaty import TERMINATION_MAX_BYTES, Outcome

RECORD_METRICS = 8
ELLIPSIS = " … "


def termination_record(snapshot: Snapshot, outcome: Outcome, verdict: Verdict) -> TerminationRecord:
    """What this node states about the execution that has ended."""
    job, lead = snapshot.job, snapshot.lead
    known = lead is not None and lead.first_step >= 0
    return TerminationRecord(
        uid=job.uid,
        attempt=job.attempt,
        round=snapshot.round,
        node_rank=snapshot.node_rank,
        outcome=outcome,
        culprit=verdict.culprit,
        first_step=lead.first_step if lead is not None and known else None,
        last_step=lead.step if lead is not None and known else None,
        first_step_at=rfc3339(lead.first_step_at) if lead is not None and lead.first_step_at is not None else None,
        training_seconds=round(lead.training_s, 3) if lead is not None else 0.0,
        spent=snapshot.spent,
        checkpoint=lead.commit if lead is not None else None,
        passed_over=lead.passed_over if lead is not None else [],
        non_finite_step=snapshot.non_finite_step,
        metrics=bounded_metrics(snapshot.metrics, RECORD_METRICS),
    )


def encode_record(record: TerminationRecord) -> bytes:
    """JSON of at most :data:`TERMINATION_MAX_BYTES`: what was given up at the start goes first, which ``/status``
    has told, then the culprit's message is cut, then the metrics go."""
    body = _dump(record)
    if len(body) > TERMINATION_MAX_BYTES and record.passed_over:
        record = record.model_copy(update={"passed_over": []})
        body = _dump(record)
    if len(body) > TERMINATION_MAX_BYTES and record.culprit is not None:
        record = _with_shorter_message(record)
        body = _dump(record)
    if len(body) > TERMINATION_MAX_BYTES:
        body = _dump(record.model_copy(update={"metrics": {}, "checkpoint": None}))
    assert len(body) <= TERMINATION_MAX_BYTES, "names are bounded by the models"
    return body


def write_record(path: Path, body: bytes) -> None:
    """Write in place: kubelet mounts that very file, it must not be replaced by another one.

    Raises:
        OSError: the file cannot be written.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(fd, body)
    finally:
        os.close(fd)


def _dump(record: TerminationRecord) -> bytes:
    return record.model_dump_json(by_alias=True, exclude_none=True).encode()


def _with_shorter_message(record: TerminationRecord) -> TerminationRecord:
    """Cut the message's middle, by as little as possible: its first line says what, its last lines say where."""
    culprit = record.culprit
    assert culprit is not None, "checked by the caller"
    message = culprit.message or ""

    def cut(keep: int) -> TerminationRecord:
        head = min(keep // 2, 600)
        shorter = message[:head] + ELLIPSIS + message[len(message) - (keep - head) :]
        return record.model_copy(update={"culprit": culprit.model_copy(update={"message": shorter})})

    # A character takes one to six bytes of JSON, so how many fit is found by halving rather than reckoned.
    fits, too_many = 0, len(message)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if len(_dump(cut(middle))) <= TERMINATION_MAX_BYTES else (fits, middle)
    return cut(fits)
