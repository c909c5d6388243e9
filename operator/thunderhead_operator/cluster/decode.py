"""JSON from the API server, in which tenants may have put anything that it takes: 10,000 levels, megabytes, half a
million empty objects. What comes out is no deeper than Python's own parser goes, and holds what the operator reads."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, Final

from thunderhead_api.extent import DEPTH_MAX
from thunderhead_api.treaty import GROUP
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Manifest, Obj, items, section

_CUT_BELOW: Final = DEPTH_MAX + 8
"""Of a job that is cut here enough is left to be refused as too deep, also inside a list or an event."""
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]+|[\]}]+', re.DOTALL)
_OPEN: Final = b"[{"
_PLACEMENT: Final = ("nodeName", "resourceClaims", "schedulerName")
_ANNOTATION_MAX: Final = 1024
_METADATA: Final = (
    *("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "labels"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences"),
)


async def decode(text: bytes) -> Any:
    """The value of a JSON text; what lies too deep for Python's stack is left out. That is looked for beside the event
    loop: a megabyte of brackets takes half a second, in which other jobs go on.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(await asyncio.to_thread(_cut, text))


def slim(obj: Obj, kind: str = "") -> Manifest:
    """A child as decisions read it: metadata, of a pod also where it runs, what it waits for, and its status. Anyone
    may hang 256 KiB of annotations or a long specification on an object with our label; only our own are kept."""
    meta = section(obj, "metadata")
    kept: Manifest = {"metadata": {key: meta[key] for key in _METADATA if key in meta}}
    ours = {key: value for key, value in section(meta, "annotations").items() if key.startswith(f"{GROUP}/")}
    if ours:
        kept["metadata"]["annotations"] = {key: str(value)[:_ANNOTATION_MAX] for key, value in ours.items()}
    if kind == Kind.POD:
        spec = section(obj, "spec")
        kept["spec"] = {key: spec[key] for key in _PLACEMENT if key in spec}
        kept["spec"]["containers"] = [{"name": container.get("name")} for container in items(spec, "containers")]
        kept["status"] = section(obj, "status")
    return kept


def without_history(obj: Obj) -> Obj:
    """A job without ``managedFields``: as deep and as large again as what was written, and read by nobody here."""
    meta = obj.get("metadata")
    if isinstance(meta, dict):
        meta.pop("managedFields", None)
    return obj


def _cut(text: bytes) -> bytes:
    """``text`` with every object and list emptied that lies ``_CUT_BELOW`` levels deep."""
    kept: list[bytes] = []
    depth, begin = 0, 0
    for token in _TOKEN.finditer(text):
        start, end = token.span()
        sign = text[start : start + 1]
        if sign == b'"':
            continue
        if sign in _OPEN:
            if depth < _CUT_BELOW <= depth + end - start:
                kept.append(text[begin : start + _CUT_BELOW - depth])
            depth += end - start
        else:
            if depth - (end - start) < _CUT_BELOW <= depth:
                begin = start + depth - _CUT_BELOW
            depth -= end - start
    return b"".join((*kept, text[begin:]))
