"""Which files an attempt runs, as a table; and what is said when the user's are others."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import OWNER, UID, context, running_status
from op_world import NAMESPACE

from thunderhead_api.code_hash import code_hash
from thunderhead_api.names import code_config_map_name
from thunderhead_api.treaty import Annotation, Cause, Label
from thunderhead_operator.plan.actions import DeleteChild
from thunderhead_operator.plan.active import active
from thunderhead_operator.plan.code import code_sources, sight
from thunderhead_operator.plan.code_sight import CodeSight
from thunderhead_operator.plan.objects import Manifest

SPEC = {"code": {"configMap": {"name": "mine"}}}
HASH = "s" * 16


def copy_of(attempt: int, **annotations: str) -> Manifest:
    """Attempt's copy, made for the spec of now unless said otherwise."""
    said = {"spec_hash": HASH, "restart": "", "code_from": "mine", "code_hash": "c" * 16} | annotations
    return {
        "metadata": {
            "name": code_config_map_name("digits", UID, attempt),
            "namespace": NAMESPACE,
            "uid": f"uid-copy-{attempt}",
            "ownerReferences": OWNER,
            "labels": {Label.ATTEMPT.value: str(attempt)},
            "annotations": {Annotation[key.upper()].value: value for key, value in said.items()},
        }
    }


def creating(attempt: int = 3, **changes: Any) -> dict[str, Any]:
    return running_status(attempt=attempt, podsCreatedAt=None, specHash=HASH, **changes)


COPY = copy_of(2)["metadata"]["name"]


@pytest.mark.parametrize(
    ("copies", "restart", "wanted"),
    [
        ([], None, ("mine",)),
        ([copy_of(2)], None, (COPY, "mine")),
        ([copy_of(1), copy_of(2)], None, (COPY, "mine")),
        ([copy_of(3)], None, ()),
        ([copy_of(2, spec_hash="other")], None, ("mine", COPY)),
        ([copy_of(2, spec_hash="other", code_from="another")], None, ("mine",)),
        ([copy_of(2)], "now", ("mine", COPY)),
        ([copy_of(2, restart="now")], "now", (COPY, "mine")),
        ([copy_of(2, restart="then")], "now", ("mine", COPY)),
        ([{"metadata": {**copy_of(2)["metadata"], "ownerReferences": []}}], None, ("mine",)),
    ],
    ids=[
        "first attempt",
        "recovery",
        "the newest copy",
        "its own is there",
        "changed spec",
        "changed spec, another ConfigMap",
        "restart on request",
        "recovery after a restart on request",
        "a second restart on request",
        "somebody else's ConfigMap",
    ],
)
def test_where_the_code_of_an_attempt_comes_from(
    copies: list[Manifest], restart: str | None, wanted: tuple[str, ...]
) -> None:
    ctx = context(creating(restart=restart), spec=SPEC, config_maps=tuple(copies))
    assert code_sources(ctx) == wanted


def of_before(attempt: int) -> Manifest:
    """A copy as operators before annotations made them."""
    return {"metadata": {**copy_of(attempt)["metadata"], "annotations": {}}}


def entry(attempt: int, cause: Cause, spec_hash: str | None = None) -> dict[str, Any]:
    ended = {"attempt": attempt, "cause": cause, "free": True, "startedAt": "", "endedAt": ""}
    return ended if spec_hash is None else ended | {"specHash": spec_hash}


@pytest.mark.parametrize(
    ("ledger", "restart", "wanted"),
    [
        ([entry(2, Cause.NODE_LOST, HASH)], None, (COPY, "mine")),
        ([entry(2, Cause.SUSPENDED, HASH)], None, (COPY, "mine")),
        ([entry(2, Cause.SPEC_CHANGED, "other")], None, ("mine",)),
        ([entry(2, Cause.RESTART_REQUESTED, HASH)], "now", ("mine",)),
        ([entry(1, Cause.NODE_LOST), entry(2, Cause.NODE_LOST)], None, (COPY, "mine")),
        ([entry(1, Cause.SPEC_CHANGED), entry(2, Cause.NODE_LOST)], None, (COPY, "mine")),
        ([entry(2, Cause.SPEC_CHANGED)], None, ("mine",)),
        ([entry(2, Cause.SUSPENDED)], None, ("mine",)),
        ([entry(1, Cause.NODE_LOST)], None, ("mine",)),
    ],
    ids=[
        "lost under this operator",
        "suspended under this operator",
        "another spec",
        "a restart on request",
        "lost under the operator of before",
        "a change before the copy was made",
        "changed under the operator of before",
        "suspended under it: nothing says what was edited since",
        "no entry of the copy's attempt",
    ],
)
def test_a_copy_that_does_not_say_for_which_spec_it_was_made(
    ledger: list[dict[str, Any]], restart: str | None, wanted: tuple[str, ...]
) -> None:
    ctx = context(creating(restart=restart, ledger=ledger), spec=SPEC, config_maps=(of_before(2),))
    assert code_sources(ctx) == wanted


def test_the_only_copy_is_not_deleted_before_there_is_another() -> None:
    """Made and deleted side by side, a crash between the two would leave neither."""

    def deleted(*maps: Manifest) -> set[str]:
        now = context(creating(), spec=SPEC).job.spec_hash
        ctx = context(creating() | {"specHash": now}, spec=SPEC, config_maps=maps, code={"data": {"a.py": ""}})
        return {a.name for a in active(ctx).actions if isinstance(a, DeleteChild)}

    job_map = {"metadata": {**copy_of(2)["metadata"], "name": "digits-2-uid-job"}}
    assert deleted(copy_of(2), job_map) == {"digits-2-uid-job"}
    assert deleted(copy_of(2), job_map, copy_of(3)) == {"digits-2-uid-job", COPY}


def test_what_a_look_at_the_users_files_tells() -> None:
    frozen = {"data": {"a.py": "1", "b.py": "2"}}
    assert sight(None, frozen) == CodeSight(deleted=True)
    assert sight({"data": {"b.py": "2", "a.py": "1"}, "metadata": {"labels": {"x": "y"}}}, frozen) == CodeSight()
    assert sight({"data": {"a.py": "3", "c.py": ""}}, frozen) == CodeSight(changed=("a.py", "b.py", "c.py"))
    assert sight({"data": {"a.py": "1", "b.py": "2"}, "binaryData": {"m.so": "AA=="}}, frozen).changed == ("m.so",)
    assert sight({"data": {}}, None) == CodeSight()


def test_hash_of_code_tells_names_contents_and_kinds_apart() -> None:
    one = {"a": "b"}
    cases: list[tuple[dict[str, str], ...]] = [
        ({},),
        (one,),
        ({"ab": ""},),
        ({}, one),
        ({"a": "", "b": ""},),
        (one, one),
    ]
    assert len({code_hash(*case) for case in cases}) == len(cases)
    assert code_hash({"a": "1", "b": "2"}) == code_hash({"b": "2", "a": "1"})
