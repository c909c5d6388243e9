"""What keeps a job from running and can heal: named in the condition ``Blocked``, tried again, never a failure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from thunderhead_api.conditions import Reason, is_true
from thunderhead_api.treaty import ConditionType
from thunderhead_operator.plan.code import code_is_missing, code_sources
from thunderhead_operator.plan.context import Context, Stage
from thunderhead_operator.plan.kinds import TRAITS, Kind
from thunderhead_operator.plan.observed import Refusal, RefusalKind, is_quota
from thunderhead_operator.plan.pods import PodView, Waiting

_IMAGE: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_SECRET: Final = re.compile(r"\bsecret\b", re.IGNORECASE)
_CONFIG_MAP: Final = re.compile(r"\bconfig ?map\b", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """Reason and message of the condition."""

    reason: str
    message: str


def block_of(ctx: Context) -> Block | None:
    """What is in the way now: of several things the one that comes first in the life of a pod."""
    if ctx.job.stage not in (Stage.CREATING, Stage.RUNNING):
        return None
    if ctx.job.stage is Stage.CREATING and ctx.missing:
        if code_is_missing(ctx):
            return _no_code(ctx)
        if refusals := [r for r in ctx.observed.refusals if not r.renewal]:
            return _refused(refusals[0])
    # while an attempt runs, what the job has one of is put back, and nothing else is made
    lost = [r for r in ctx.observed.refusals if TRAITS[r.kind].name is not None and not r.renewal]
    if ctx.job.stage is Stage.RUNNING and lost:
        missing = _refused(lost[0])
        return Block(missing.reason, f"attempt {ctx.status.attempt} runs on without {missing.message}")
    views = [pod for _, pod in sorted(ctx.current.items())]
    return next((block for pod in views if (block := _pod_block(ctx, pod))), None) or _not_renewed(ctx)


def _not_renewed(ctx: Context) -> Block | None:
    """Last of all, and not said of an attempt that still starts: it does so with what was there before."""
    old = next((r for r in ctx.observed.refusals if r.renewal), None)
    if old is None or not is_true(ctx.status.conditions, ConditionType.RUNNING):
        return None
    new = _refused(old)
    said = f"attempt {ctx.status.attempt} runs on with the {old.kind} of before, the new one is refused: {new.message}"
    return Block(new.reason, said)


def next_retry(ctx: Context) -> tuple[datetime, ...]:
    """When to try again what was refused."""
    return (ctx.now + timedelta(seconds=ctx.config.retry_s),)


def _no_code(ctx: Context) -> Block:
    name = code_sources(ctx)[0]
    return Block(
        Reason.CONFIG_MAP_MISSING,
        f'ConfigMap "{name}" (spec.code.configMap) is not in namespace {ctx.job.namespace}; '
        f"create it: kubectl -n {ctx.job.namespace} create configmap {name} --from-file=…",
    )


def _refused(refusal: Refusal) -> Block:
    what = f"{refusal.kind} {refusal.name}: {refusal.message}"
    if refusal.why is RefusalKind.INVALID and (look := TRAITS[refusal.kind].if_invalid):
        what += f"; {look}"
    if refusal.why is RefusalKind.TAKEN:
        return Block(Reason.NAME_TAKEN, what)
    if is_quota(refusal.message):
        return Block(Reason.QUOTA_EXCEEDED, what)
    if refusal.why is RefusalKind.INVALID and TRAITS[refusal.kind].of_spec:
        return Block(Reason.INVALID_POD, what)
    if refusal.kind is Kind.POD and "service account" in refusal.message:
        return Block(Reason.SERVICE_ACCOUNT_MISSING, what)
    return Block(Reason.FORBIDDEN, what)


def _pod_block(ctx: Context, pod: PodView) -> Block | None:
    if pod.terminated or pod.terminating:
        return None
    if pod.waiting and pod.waiting.reason in _IMAGE | _CONFIG:
        why = f"pod {pod.name}, container {pod.waiting.container}: {pod.waiting.message or pod.waiting.reason}"
        return Block(_waiting_reason(pod.waiting), why)
    if pod.unplaced is not None and pod.created_at:
        patience = timedelta(seconds=ctx.config.unschedulable_s)
        if ctx.now >= pod.created_at + patience:
            return Block(pod.unplaced.reason, f"pod {pod.name}: {pod.unplaced.message}")
    return None


def block_wakes(ctx: Context) -> tuple[datetime, ...]:
    """When a pod that waits for the scheduler will have waited too long."""
    waits = [p.created_at for p in ctx.current.values() if p.unplaced is not None and p.created_at]
    patience = timedelta(seconds=ctx.config.unschedulable_s)
    return tuple(t + patience for t in waits if t + patience > ctx.now)


def _waiting_reason(waiting: Waiting) -> str:
    if waiting.reason in _IMAGE:
        return Reason.IMAGE_UNAVAILABLE
    if _SECRET.search(waiting.message):
        return Reason.SECRET_MISSING
    if _CONFIG_MAP.search(waiting.message):
        return Reason.CONFIG_MAP_MISSING
    return waiting.reason
