"""What is in the way and can heal: named with object and reason."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import context, pod, running_status

from thunderhead_operator.plan.blocked import block_of
from thunderhead_operator.plan.code import code_is_missing, code_sources
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.observed import Refusal, RefusalKind

CREATING = {k: v for k, v in running_status().items() if k != "podsCreatedAt"}
CODE = {"code": {"configMap": {"name": "digits-code"}}}


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (
            (Kind.POD, RefusalKind.FORBIDDEN, 'pods "x" is forbidden: exceeded quota: one-pod, requested: pods=1'),
            "QuotaExceeded",
        ),
        ((Kind.CONFIG_MAP, RefusalKind.FORBIDDEN, "failed quota: q: must specify limits.cpu"), "QuotaExceeded"),
        (
            (Kind.POD, RefusalKind.FORBIDDEN, 'error looking up service account t/x: serviceaccount "x" not found'),
            "ServiceAccountMissing",
        ),
        ((Kind.POD, RefusalKind.FORBIDDEN, 'violates PodSecurity "restricted:latest"'), "Forbidden"),
        ((Kind.SERVICE, RefusalKind.TAKEN, "an object of that name exists"), "NameTaken"),
    ],
)
def test_what_the_api_server_refused(refusal: tuple[Kind, RefusalKind, str], reason: str) -> None:
    kind, why, message = refusal
    block = block_of(context(CREATING, pod(0), refusals=(Refusal(kind, "digits-1-1", why, message),)))
    assert block is not None
    assert block.reason == reason
    assert "digits-1-1" in block.message
    assert message in block.message


def test_a_refusal_is_history_once_all_pods_are_there() -> None:
    old = Refusal(Kind.POD, "digits-1-1", RefusalKind.FORBIDDEN, "exceeded quota")
    assert block_of(context(None, pod(0), pod(1), refusals=(old,))) is None


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        (("CreateContainerConfigError", 'secret "digits-s3" not found'), "SecretMissing"),
        (
            ("CreateContainerConfigError", "couldn't find key AWS_ACCESS_KEY_ID in Secret team/digits-s3"),
            "SecretMissing",
        ),
        (("CreateContainerConfigError", 'configmap "more" not found'), "ConfigMapMissing"),
        (("ErrImagePull", "not found"), "ImageUnavailable"),
        (("ImagePullBackOff", ""), "ImageUnavailable"),
        (("RunContainerError", "no such device"), "RunContainerError"),
    ],
)
def test_what_a_kubelet_waits_for(waiting: tuple[str, str], reason: str) -> None:
    block = block_of(context(None, pod(0), pod(1, phase="Pending", waiting=waiting)))
    assert block is not None
    assert block.reason == reason
    assert "digits-1-1" in block.message
    assert waiting[1] in block.message


@pytest.mark.parametrize("waiting", [("ContainerCreating", ""), ("PodInitializing", "")])
def test_what_is_on_its_way_blocks_nothing(waiting: tuple[str, str]) -> None:
    assert block_of(context(None, pod(0, phase="Pending", waiting=waiting), pod(1))) is None


def test_the_scheduler_gets_a_moment() -> None:
    waiting = pod(
        0, phase="Pending", node=None, unschedulable="0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    )
    assert block_of(context(None, waiting, pod(1), now=7.9)) is None
    block = block_of(context(None, waiting, pod(1), now=8))
    assert block is not None
    assert block.reason == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in block.message


def config_map(name: str, **changes: Any) -> dict[str, Any]:
    owner = [{"uid": "uid-job", "controller": True}]
    return {"metadata": {"name": name, "ownerReferences": owner} | changes}


def test_missing_code_is_named() -> None:
    ctx = context(CREATING, spec=CODE)
    assert code_is_missing(ctx)
    block = block_of(ctx)
    assert block is not None
    assert block.reason == "ConfigMapMissing"
    assert '"digits-code"' in block.message


def test_code_is_read_only_while_its_copy_is_still_to_be_made() -> None:
    assert code_sources(context(CREATING, spec=CODE)) == ("digits-code",)
    assert not code_sources(context(CREATING, spec=CODE, config_maps=(config_map("digits-1-uid-job-code"),)))
    assert code_sources(
        context(CREATING, spec=CODE, config_maps=(config_map("digits-1-uid-job-code", ownerReferences=[]),))
    )
    assert not code_sources(context(CREATING))
    assert not code_sources(context(None, pod(0), pod(1), spec=CODE))
