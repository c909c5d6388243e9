"""A new kind of child touches three files: its traits, its manifest, its rights in the chart. Here it is tried out."""

from __future__ import annotations

import ast
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from op_kubelet import End, Pod, ends
from op_world import KEY, NAME, NAMESPACE, World

import thunderhead_cli
import thunderhead_operator
from thunderhead_api.treaty import Outcome
from thunderhead_operator.control.resync import Resync, watched
from thunderhead_operator.plan import active, kinds
from thunderhead_operator.plan.actions import CreateChild
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.kinds import Kind, Traits
from thunderhead_operator.plan.render import attempt_children, child_labels, job_children, metadata


class New(StrEnum):
    """Kinds that are not there yet."""

    OF_JOB = "PodDisruptionBudget"
    OF_ATTEMPT = "ResourceClaim"


TRAITS = {
    New.OF_JOB: Traits(api=("/apis/policy/v1", "poddisruptionbudgets"), name=lambda job: job, heard=True),
    New.OF_ATTEMPT: Traits(api=("/apis/resource.k8s.io/v1", "resourceclaims"), of_spec=True),
}


def child(ctx: Context, kind: Any, name: str, attempt: int | None) -> CreateChild:
    return CreateChild(kind, {"metadata": metadata(ctx, name, child_labels(ctx, attempt))})


def more_of_job(ctx: Context) -> tuple[CreateChild, ...]:
    return (*job_children(ctx), child(ctx, New.OF_JOB, ctx.job.name, None))


def more_of_attempt(ctx: Context) -> tuple[CreateChild, ...]:
    attempt = ctx.status.attempt
    return (*attempt_children(ctx), child(ctx, New.OF_ATTEMPT, f"{ctx.job.name}-{attempt}", attempt))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written in two files of the operator for the new kinds: their traits, and their manifests."""
    for kind, traits in TRAITS.items():
        monkeypatch.setitem(kinds.TRAITS, kind, traits)
    monkeypatch.setattr(active, "job_children", more_of_job)
    monkeypatch.setattr(active, "attempt_children", more_of_attempt)


def names(world: World, kind: str) -> list[str]:
    return sorted(o["metadata"]["name"] for o in world.cluster.all(kind))


def first_fails(pod: Pod) -> End | None:
    return ends(pod, Outcome.FAILED) if pod.attempt == 1 and pod.age > 3 else None


@pytest.mark.usefixtures("known")
async def test_it_is_made_and_put_back_and_removed_like_the_others() -> None:
    world = World(first_fails)
    world.submit()
    await world.run(lambda w: w.status.attempt == 1 and len(w.pods()) == 2)
    assert (names(world, New.OF_JOB), names(world, New.OF_ATTEMPT)) == ([NAME], [f"{NAME}-1"])
    world.cluster.remove(New.OF_JOB, NAMESPACE, NAME)
    await world.drain()
    assert names(world, New.OF_JOB) == [NAME]
    await world.run(lambda w: w.status.attempt == 2 and len(w.pods()) == 2)
    await world.tick(3)
    assert (names(world, New.OF_JOB), names(world, New.OF_ATTEMPT)) == ([NAME], [f"{NAME}-2"])


@pytest.mark.usefixtures("known")
async def test_a_change_of_it_wakes_a_pass_if_it_is_to_be_heard() -> None:
    assert New.OF_JOB in watched()
    assert New.OF_ATTEMPT not in watched()
    world = World(lambda pod: None)
    world.submit()
    await world.run(lambda w: len(w.pods()) == 2)
    woken: list[Any] = []
    resync = Resync(world.cluster, namespaces=(None,), wake=woken.append, monotonic=lambda: 0.0)
    await resync.once()
    woken.clear()
    world.cluster.edit(New.OF_ATTEMPT, NAMESPACE, f"{NAME}-1", lambda o: o["metadata"].update(annotations={"a": "1"}))
    await resync.once()
    assert woken == []
    world.cluster.edit(New.OF_JOB, NAMESPACE, NAME, lambda o: o["metadata"].update(annotations={"a": "1"}))
    await resync.once()
    assert woken == [KEY]


WITH_A_LIFE_OF_THEIR_OWN = {Kind.POD, Kind.CONFIG_MAP, Kind.SECRET}
"""Pods end and tell of it, ConfigMaps hold the code, a Secret is the key: that is written where it is done."""


def members(tree: ast.AST) -> list[str]:
    """Names of the members of ``Kind`` below a node."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return [node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "Kind"]


def sources() -> dict[str, ast.Module]:
    packages = [Path(package.__path__[0]) for package in (thunderhead_operator, thunderhead_cli)]
    return {
        str(path.relative_to(package.parent)): ast.parse(path.read_text())
        for package in packages
        for path in package.rglob("*.py")
    }


def test_kinds_are_enumerated_in_one_place() -> None:
    """Two kinds in one tuple, list, set, dict or condition are a list of kinds, and a new one is missing from it."""
    lists = (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.BoolOp)
    found = {
        f"{name}:{node.lineno}"
        for name, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, lists) and len(set(members(node))) > 1
    }
    assert {place.partition(":")[0] for place in found} <= {
        "thunderhead_operator/plan/kinds.py",
        "thunderhead_operator/plan/render.py",
    }, found


def test_a_kind_without_a_life_of_its_own_is_named_by_its_traits_and_its_manifest_alone() -> None:
    plain = {kind.name for kind in Kind} - {kind.name for kind in WITH_A_LIFE_OF_THEIR_OWN}
    found = {name for name, tree in sources().items() if plain & set(members(tree))}
    assert found == {"thunderhead_operator/plan/kinds.py", "thunderhead_operator/plan/render.py"}
