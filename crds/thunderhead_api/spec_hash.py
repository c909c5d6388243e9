"""The hash that says whether a changed spec needs new pods."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from thunderhead_api.spec import TrainingJobSpec

HASH_HEX_DIGITS: Final = 16

NOT_IN_PODS: Final = (
    "suspend",
    "managedBy",
    "restarts",
    "startupDeadlineSeconds",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
)
"""Fields that only the operator acts on: changing them disturbs no pod."""


def spec_hash(spec: TrainingJobSpec) -> str:
    """16 hexadecimal digits over what the user wrote that alters pods.

    A field left out and the same field written with its default hash alike, so a new version may add fields without
    restarting anyone. (It may not change a default: that would be another API version.)
    """
    written: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for field in NOT_IN_PODS:
        written.pop(field, None)
    written.get("checkpoint", {}).pop("keep", None)
    for kind, amounts in written.get("resources", {}).items():
        written["resources"][kind] = {name: str(amount) for name, amount in amounts.items()}
    canonical = json.dumps(_without_empty(written), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:HASH_HEX_DIGITS]


def _without_empty(value: Any) -> Any:
    """``value`` without keys that say nothing; inside ``init_args`` an explicit null or {} is an argument and stays."""
    if not isinstance(value, dict):
        return value
    kept = {key: item if key == "init_args" else _without_empty(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item is not None and item != {}}
