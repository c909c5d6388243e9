"""Laying a template over what we render, as a strategic merge does it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from thunderhead_operator.plan.overlay import overlay
from thunderhead_operator.plan.patch import merge_patch


@pytest.mark.parametrize(
    ("base", "over", "expected"),
    [
        ({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"args": ["a"]}, {"args": ["b"]}, {"args": ["b"]}),
        (
            {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"env": [{"name": "B", "valueFrom": {"fieldRef": {}}}, {"name": "C", "value": "3"}]},
            {
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "B", "valueFrom": {"fieldRef": {}}},
                    {"name": "C", "value": "3"},
                ]
            },
        ),
        (
            {"containers": [{"name": "trainer", "image": "a", "tty": False}]},
            {"containers": [{"name": "side"}, {"name": "trainer", "image": "b"}]},
            {"containers": [{"name": "trainer", "image": "b", "tty": False}, {"name": "side"}]},
        ),
        (
            {"tolerations": [{"key": "k", "effect": "NoExecute", "tolerationSeconds": 5}]},
            {
                "tolerations": [
                    {"key": "k", "effect": "NoExecute", "tolerationSeconds": 60},
                    {"key": "k", "effect": "NoSchedule"},
                ]
            },
            {
                "tolerations": [
                    {"key": "k", "effect": "NoExecute", "tolerationSeconds": 60},
                    {"key": "k", "effect": "NoSchedule"},
                ]
            },
        ),
        (
            {"ports": [{"containerPort": 1, "protocol": "TCP"}]},
            {"ports": [{"containerPort": 1, "name": "x"}]},
            {"ports": [{"containerPort": 1, "protocol": "TCP", "name": "x"}]},
        ),
    ],
)
def test_overlay(base: dict[str, Any], over: dict[str, Any], expected: dict[str, Any]) -> None:
    before = copy.deepcopy((base, over))
    assert overlay(base, over) == expected
    assert (base, over) == before, "neither is changed"


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {}, {"a": None}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}),
        ({"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3]}),
        ({"a": 1}, {"a": True}, {"a": True}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
    ],
)
def test_merge_patch(before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any]) -> None:
    assert merge_patch(before, after) == patch
