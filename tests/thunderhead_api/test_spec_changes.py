"""What is said of two specs that differ."""

from __future__ import annotations

from typing import Any

import pytest

from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.spec_changes import changes, shortened, written

BASE: dict[str, Any] = {"module": {"class_path": "m.M"}, "checkpoint": {"uri": "s3://bucket/x"}}

HUSH = {"name": "trainer", "args": ["--key=hush"], "env": [{"name": "KEY", "value": "hush"}]}


def said(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    one, other = (written(TrainingJobSpec.model_validate(BASE | fields)) for fields in (before, after))
    return changes(one, other)


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({}, {"nodes": 1, "command": "fit", "checkpoint": {"uri": "s3://bucket/x", "resume": "Auto"}}, []),
        ({}, {"nodes": 2}, ["nodes: (not set) → 2"]),
        ({"suspend": True, "startupDeadlineSeconds": 9}, {"managedBy": "kueue"}, []),
        (
            {"module": {"class_path": "m.M", "init_args": {"lr": 0.01, "deep": {"a": [1, 2], "b": None}}}},
            {"module": {"class_path": "m.M", "init_args": {"lr": 0.003, "deep": {"a": [1, 3]}}}},
            [
                "module.init_args.deep.a: [1, 2] → [1, 3]",
                "module.init_args.deep.b: null → (not set)",
                "module.init_args.lr: 0.01 → 0.003",
            ],
        ),
        (
            {"trainer": {"callbacks": [{"class_path": "c.A", "init_args": {"patience": 3}}]}},
            {"trainer": {"callbacks": [{"class_path": "c.A", "init_args": {"patience": 5}}, {"class_path": "c.B"}]}},
            [
                "trainer.callbacks[0].init_args.patience: 3 → 5",
                'trainer.callbacks[1]: (not set) → {"class_path": "c.B"}',
            ],
        ),
        ({"trainer": {"limit_val_batches": 1}}, {"trainer": {"limit_val_batches": "50%"}}, None),
        (
            {"code": {"inline": {"files": {"a.py": "secret = 1", "b.py": ""}}}},
            {"code": {"inline": {"files": {"a.py": "secret = 2", "c.py": ""}}}},
            ["code.inline.files.a.py: changed", "code.inline.files.b.py: removed", "code.inline.files.c.py: added"],
        ),
        (
            {"podTemplate": {"spec": {"containers": [{"name": "trainer", "env": [{"name": "KEY", "value": "hush"}]}]}}},
            {"podTemplate": {"spec": {"containers": [{"name": "trainer", "env": [{"name": "KEY", "value": "psst"}]}]}}},
            ["podTemplate.spec.containers[0].env[0].value: changed"],
        ),
        ({}, {"podTemplate": {"spec": {"containers": [HUSH]}}}, ["podTemplate: added"]),
        ({"podTemplate": {"spec": {"containers": [HUSH]}}}, {"podTemplate": {}}, ["podTemplate.spec: removed"]),
        (
            {"podTemplate": {"spec": {"containers": [{"name": "trainer"}], "priority": 1}}},
            {"podTemplate": {"spec": {"containers": [HUSH, HUSH], "priority": 2}}},
            [
                "podTemplate.spec.containers[0].args: added",
                "podTemplate.spec.containers[0].env: added",
                "podTemplate.spec.containers[1]: added",
                "podTemplate.spec.priority: 1 → 2",
            ],
        ),
        (
            {"podTemplate": {"spec": {"containers": [HUSH]}}},
            {"podTemplate": {"spec": {"containers": [{**HUSH, "args": ["--key=psst"]}]}}},
            ["podTemplate.spec.containers[0].args: changed"],
        ),
    ],
)
def test_each_path_is_told_with_old_and_new_value(
    before: dict[str, Any], after: dict[str, Any], lines: list[str] | None
) -> None:
    found = said(before, after)
    if lines is None:
        assert len(found) == 1
        assert "limit_val_batches" in found[0]
    else:
        assert found == lines


def test_long_values_and_long_lists_are_cut() -> None:
    (line,) = changes({"a": "x" * 500}, {"a": "y" * 500})
    assert len(line) < 300
    assert shortened(["a", "b", "c"], 3) == ["a", "b", "c"]
    assert shortened(["a", "b", "c", "d"], 3) == ["a", "b", "and 2 more"]
