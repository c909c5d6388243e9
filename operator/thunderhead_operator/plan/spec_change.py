"""A spec that was changed: what of it, told from what the running attempt's frozen job remembers."""

from __future__ import annotations

import json

from thunderhead_api.names import job_config_map_name
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.spec_changes import changes, shortened, written
from thunderhead_api.status import CHANGES_MAX
from thunderhead_api.treaty import SPEC_FILE_NAME
from thunderhead_operator.plan.context import Context, Stage
from thunderhead_operator.plan.objects import section

_SPEC_MAX = 256 * 1024  # a ConfigMap holds 1 MiB, and the frozen job comes first
_LINE_MAX = 1024


def has_changed(ctx: Context) -> bool:
    """Whether the spec is no longer what the running attempt, or the last one, has."""
    return ctx.status.attempt > 0 and ctx.job.spec is not None and ctx.job.spec_hash != ctx.status.spec_hash


def spec_to_read(ctx: Context) -> str | None:
    """Name of the ConfigMap that remembers the spec of the attempt, where this pass has to say what was changed."""
    if not has_changed(ctx) or ctx.job.stage is Stage.FINISHED:
        return None
    return job_config_map_name(ctx.job.name, ctx.job.uid, ctx.status.attempt)


def spec_changes(ctx: Context) -> list[str]:
    """What was changed, path by path; empty where nothing was, or nothing is left that remembers."""
    if not has_changed(ctx) or ctx.observed.frozen is None:
        return []
    assert ctx.job.spec is not None
    try:
        before = json.loads(section(ctx.observed.frozen, "data").get(SPEC_FILE_NAME) or "null")
    except ValueError:
        return []
    if not isinstance(before, dict):
        return []
    return shortened([line[:_LINE_MAX] for line in changes(before, written(ctx.job.spec))], CHANGES_MAX)


def remembered(spec: TrainingJobSpec) -> dict[str, str]:
    """What the frozen job's ConfigMap holds for that; nothing where the spec is too long to be written twice."""
    text = json.dumps(written(spec))
    return {SPEC_FILE_NAME: text} if len(text.encode()) <= _SPEC_MAX else {}
