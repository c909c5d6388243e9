"""Laying a user's pod template over what we render: maps merge, keyed lists merge by key, the rest is replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "protocol"),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "tolerations": ("key", "effect"),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "resourceClaims": ("name",),
    "claims": ("name",),
}
"""What tells the entries of a list apart, as in Kubernetes' own strategic merge."""


def overlay(base: Any, over: Any, field: str = "") -> Any:
    """``base`` with ``over`` laid on it; neither is changed. A null takes a field out, where one arrives: an API server
    drops nulls of a pod template."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        merged = {key: value for key, value in base.items() if over.get(key, value) is not None}
        for key, value in over.items():
            if value is not None:
                merged[key] = overlay(base[key], value, key) if key in base else value
        return merged
    if field in _KEYS and isinstance(base, Sequence) and isinstance(over, Sequence):
        return _merge_keyed(base, over, _KEYS[field])
    return over


def _merge_keyed(base: Sequence[Any], over: Sequence[Any], keys: tuple[str, ...]) -> list[Any]:
    """Entries of ``base`` in their order, merged with their namesakes, then the new ones."""
    pending = {_identity(entry, keys): entry for entry in over}
    merged = []
    for entry in base:
        match = pending.pop(_identity(entry, keys), None)
        # An env variable is one value: laying a valueFrom over a value would leave both, which is no valid variable.
        replaces = match is not None and keys == ("name",) and _is_variable(entry)
        merged.append(match if replaces else entry if match is None else overlay(entry, match))
    return [*merged, *pending.values()]


def _identity(entry: Any, keys: tuple[str, ...]) -> tuple[Any, ...]:
    if not isinstance(entry, Mapping):
        return (repr(entry),)
    return tuple(entry.get(key, "TCP" if key == "protocol" else None) for key in keys)


def _is_variable(entry: Any) -> bool:
    return isinstance(entry, Mapping) and not entry.keys() - {"name", "value", "valueFrom"}
