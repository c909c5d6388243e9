"""Which Python files an attempt runs: those that the job's first attempt began with, until the user asks for others.

An attempt's copy says for which spec and which restart on request it was made. While both are those of the attempt to
come, the copy is copied on; the user's ConfigMap is read for the first attempt, for a changed spec and for a restart.
"""

from __future__ import annotations

from thunderhead_api.code_hash import changed_files, code_hash
from thunderhead_api.names import code_config_map_name
from thunderhead_api.treaty import Annotation, Label
from thunderhead_operator.plan.code_sight import CodeSight
from thunderhead_operator.plan.context import Context, Stage
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Obj, int_label, name_of, owner_uid, section
from thunderhead_operator.plan.same_failure import ON_PURPOSE


def code_sources(ctx: Context) -> tuple[str, ...]:
    """Names of ConfigMaps to make the attempt's copy from: the first that is there; none where none is to be made."""
    user = _user_name(ctx)
    if user is None or ctx.job.stage is not Stage.CREATING or code_copy(ctx) is not None:
        return ()
    frozen = _newest_copy(ctx)
    if frozen is None:
        return (user,)
    if _is_for(ctx, frozen):
        return name_of(frozen), user
    return (user, name_of(frozen)) if _said(frozen, Annotation.CODE_FROM) == user else (user,)


def code_is_missing(ctx: Context) -> bool:
    """The user's code is needed and is nowhere."""
    return bool(code_sources(ctx)) and ctx.observed.code is None


def code_copy(ctx: Context) -> Obj | None:
    """The running attempt's copy."""
    name = code_config_map_name(ctx.job.name, ctx.job.uid, ctx.status.attempt)
    return next((child for child in _ours(ctx) if name_of(child) == name), None)


def running_hash(ctx: Context) -> str | None:
    """Hash of the files that the running attempt has."""
    copy = code_copy(ctx)
    return _said(copy, Annotation.CODE_HASH) or None if copy is not None else None


def code_to_compare(ctx: Context) -> tuple[str, str] | None:
    """Names of the user's ConfigMap and of the copy that runs, where the one can differ from the other."""
    user, copy = _user_name(ctx), code_copy(ctx)
    if user is None or copy is None or ctx.job.stage is not Stage.RUNNING:
        return None
    return user, name_of(copy)


def sight(user: Obj | None, copy: Obj | None) -> CodeSight:
    """What the two say; a copy that is gone (somebody deleted it) tells nothing."""
    if user is None:
        return CodeSight(deleted=True)
    if copy is None or hash_of(user) == hash_of(copy):
        return CodeSight()
    return CodeSight(changed=tuple(changed_files(_files(copy), _files(user))))


def hash_of(config_map: Obj) -> str:
    """Hash of the files in a ConfigMap."""
    return code_hash(section(config_map, "data"), section(config_map, "binaryData"))


def is_kept(ctx: Context, config_map: Obj) -> bool:
    """An older attempt's copy stays until the running attempt has its own: it may be all that is left of the code."""
    if code_copy(ctx) is not None or _user_name(ctx) is None:
        return False
    return name_of(config_map) == _copy_name(ctx, config_map)


def _is_for(ctx: Context, copy: Obj) -> bool:
    """Whether the copy was made for the spec, and the restart on request, of the attempt to come."""
    if _said(copy, Annotation.RESTART) != (ctx.status.restart or ""):
        return False
    made_for = _said(copy, Annotation.SPEC_HASH)
    return made_for == ctx.status.spec_hash if made_for else _was_for(ctx, int_label(copy, Label.ATTEMPT))


def _was_for(ctx: Context, attempt: int) -> bool:
    """The same of a copy without annotations, as operators of before made them: by the entry of its attempt, and where
    that is as old, by whether the user ended what has run since."""
    since = [entry for entry in ctx.status.ledger if entry.attempt >= attempt]
    if not since or since[0].attempt != attempt:
        return False
    if since[0].spec_hash is not None:
        return since[0].spec_hash == ctx.status.spec_hash
    return all(entry.cause not in ON_PURPOSE for entry in since)


def _newest_copy(ctx: Context) -> Obj | None:
    older = [c for c in _ours(ctx) if 0 < int_label(c, Label.ATTEMPT) < ctx.status.attempt]
    copies = [c for c in older if name_of(c) == _copy_name(ctx, c)]
    return max(copies, key=lambda c: int_label(c, Label.ATTEMPT), default=None)


def _copy_name(ctx: Context, config_map: Obj) -> str:
    return code_config_map_name(ctx.job.name, ctx.job.uid, int_label(config_map, Label.ATTEMPT))


def _ours(ctx: Context) -> list[Obj]:
    return [child for child in ctx.observed.of(Kind.CONFIG_MAP) if owner_uid(child) == ctx.job.uid]


def _user_name(ctx: Context) -> str | None:
    code = ctx.job.spec.code if ctx.job.spec else None
    return code.config_map.name if code and code.config_map else None


def _said(obj: Obj, annotation: Annotation) -> str:
    return str(section(obj, "metadata", "annotations").get(annotation, ""))


def _files(config_map: Obj) -> dict[str, str]:
    return {**section(config_map, "data"), **section(config_map, "binaryData")}
