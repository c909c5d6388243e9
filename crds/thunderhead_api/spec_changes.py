"""What differs between two specs, path by path, said to people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from thunderhead_api.code_hash import code_hash
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.spec_hash import NOT_IN_PODS

_ABSENT: Final = object()
_VALUE_MAX: Final = 120
_HIDDEN: Final = ("code.inline", "podTemplate")
"""Of these, and below them, only numbers are shown: files are long, and variables of a container may be secrets."""


def written(spec: TrainingJobSpec, *, pods_only: bool = True) -> dict[str, Any]:
    """What the user wrote, as JSON without defaults; a file's hash stands for its text.

    Args:
        spec: of a job.
        pods_only: leave out what alters no pod.
    """
    said: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for field in NOT_IN_PODS if pods_only else ():
        said.pop(field, None)
    inline = (said.get("code") or {}).get("inline")
    if inline is not None:
        inline["files"] = {name: code_hash({name: text}) for name, text in inline["files"].items()}
    return said


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One line for each path whose value differs: ``module.init_args.lr: 0.01 → 0.003``."""
    return [_line(*found) for found in _differences("", before, after)]


def shortened(lines: Sequence[str], most: int) -> list[str]:
    """The first ``most`` lines, the last of which says how many are left out."""
    if len(lines) <= most:
        return list(lines)
    return [*lines[: most - 1], f"and {len(lines) - most + 1} more"]


def _differences(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            inner = f"{path}.{key}" if path else str(key)
            yield from _differences(inner, before.get(key, _ABSENT), after.get(key, _ABSENT))
    elif isinstance(before, list) and isinstance(after, list) and _holds_objects(before) and _holds_objects(after):
        for index in range(max(len(before), len(after))):
            one, other = (values[index] if index < len(values) else _ABSENT for values in (before, after))
            yield from _differences(f"{path}[{index}]", one, other)
    elif before != after or type(before) is not type(after):
        yield path, before, after


def _holds_objects(values: list[Any]) -> bool:
    return all(isinstance(value, Mapping) for value in values)


def _line(path: str, before: Any, after: Any) -> str:
    hidden = any(f"{path}.".startswith(f"{part}.") for part in _HIDDEN)
    if hidden and not (_is_number(before) and _is_number(after)):
        what = "added" if before is _ABSENT else "removed" if after is _ABSENT else "changed"
        return f"{path}: {what}"
    return f"{path}: {_shown(before)} → {_shown(after)}"


def _is_number(value: Any) -> bool:
    return value is _ABSENT or value is None or isinstance(value, int | float)


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "(not set)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_MAX else text[: _VALUE_MAX - 1] + "…"
