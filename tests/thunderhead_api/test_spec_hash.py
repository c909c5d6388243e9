"""The spec hash: what makes new pods changes it, nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.spec_hash import spec_hash

BASE: dict[str, Any] = {
    "module": {"class_path": "digits.Classifier", "init_args": {"lr": 0.02}},
    "checkpoint": {"uri": "s3://bucket/prefix"},
    "resources": {"limits": {"cpu": 2}},
}


def hash_of(**fields: Any) -> str:
    return spec_hash(TrainingJobSpec.model_validate(BASE | fields))


BASE_HASH = hash_of()


def test_is_short_hexadecimal() -> None:
    assert len(BASE_HASH) == 16
    assert int(BASE_HASH, 16) >= 0


def test_stays_the_same_from_version_to_version() -> None:
    """A change here restarts every running job when the operator is upgraded."""
    assert BASE_HASH == "6cd962d995388712"


@pytest.mark.parametrize(
    "fields",
    [
        {"suspend": True},
        {"managedBy": "them"},
        {"ttlSecondsAfterFinished": 5},
        {"startupDeadlineSeconds": 5},
        {"activeDeadlineSeconds": 5},
        {"restarts": {"maxRestarts": 9, "rules": [{"exitCodes": [1], "action": "Fail"}]}},
        {"checkpoint": {"uri": "s3://bucket/prefix", "keep": 9}},
        {"nodes": 1, "command": "fit", "processesPerNode": "Auto", "trainer": {}, "suspend": False},
        {"trainer": {"callbacks": []}, "datamodule": None, "code": None},
        {"resources": {"limits": {"cpu": "2"}, "requests": {}}},
    ],
    ids=str,
)
def test_pods_stay(fields: dict[str, Any]) -> None:
    assert hash_of(**fields) == BASE_HASH


@pytest.mark.parametrize(
    "fields",
    [
        {"nodes": 2},
        {"image": "other:1"},
        {"command": "test"},
        {"processesPerNode": 2},
        {"seed": 0},
        {"module": {"class_path": "digits.Classifier", "init_args": {"lr": 0.03}}},
        {"module": {"class_path": "digits.Classifier", "init_args": {"lr": 0.02, "more": None}}},
        {"trainer": {"max_epochs": 3}},
        {"trainer": {"logger": []}},
        {"checkpoint": {"uri": "s3://bucket/prefix", "everySteps": 5}},
        {"checkpoint": {"uri": "s3://bucket/other"}},
        {"resources": {"limits": {"cpu": 3}}},
        {"terminationGracePeriodSeconds": 5},
        {"podTemplate": {"spec": {"volumes": [{"name": "a", "emptyDir": {}}]}}},
    ],
    ids=str,
)
def test_new_pods(fields: dict[str, Any]) -> None:
    assert hash_of(**fields) != BASE_HASH


def test_order_of_keys_says_nothing() -> None:
    one = {"a": 1, "b": {"c": 2, "d": 3}}
    other = {"b": {"d": 3, "c": 2}, "a": 1}
    first, second = ({"class_path": "a.B", "init_args": args} for args in (one, other))
    assert hash_of(module=first) == hash_of(module=second)
