"""The kinds of children, and what tells them apart: whatever treats all kinds alike asks here.

A new kind is an entry here, its manifest in ``render``, and its rights in the chart. Only what is done with one kind
and no other (a pod ends, a ConfigMap holds the code, a Secret is the key) names that kind elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from thunderhead_api.names import network_policy_name, service_name
from thunderhead_operator.plan.objects import Obj


class Kind(StrEnum):
    """Kinds of children."""

    POD = "Pod"
    CONFIG_MAP = "ConfigMap"
    SERVICE = "Service"
    NETWORK_POLICY = "NetworkPolicy"
    SECRET = "Secret"


Children = Mapping[Kind, tuple[Obj, ...]]
"""What one job may have made, of every kind that may be read. Pods as far as decisions read them: metadata, of
annotations only our own, node and containers' names, status. Of the rest the metadata alone; whoever needs more of one
reads it by name."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """How a kind differs from others.

    Attributes:
        api: prefix of the paths of its API, and how that calls it there.
        name: of the one that every job has, by the job's name. None: attempts have theirs, found by their label.
        readable: others may be created, and neither read nor deleted.
        heard: a change of one wakes a pass.
        renewed: one that this operator would make otherwise is given its new specification.
        of_spec: the job alone decides it; the others are the operator's and its configuration's.
        if_invalid: what to look at when the API server will not have it.
    """

    api: tuple[str, str]
    name: Callable[[str], str] | None = None
    readable: bool = True
    heard: bool = False
    renewed: bool = False
    of_spec: bool = False
    if_invalid: str = ""


TRAITS: Mapping[Kind, Traits] = {
    Kind.POD: Traits(api=("/api/v1", "pods"), heard=True, of_spec=True),
    Kind.CONFIG_MAP: Traits(api=("/api/v1", "configmaps"), of_spec=True),
    Kind.SERVICE: Traits(api=("/api/v1", "services"), name=service_name, heard=True),
    Kind.NETWORK_POLICY: Traits(
        api=("/apis/networking.k8s.io/v1", "networkpolicies"),
        name=network_policy_name,
        heard=True,
        renewed=True,
        if_invalid="its peers are the operator's: networkPolicy.agentPeers of the chart",
    ),
    Kind.SECRET: Traits(api=("/api/v1", "secrets"), readable=False),
}


def readable() -> tuple[Kind, ...]:
    """Kinds that are looked at in every pass."""
    return tuple(kind for kind, traits in TRAITS.items() if traits.readable)


def heard() -> tuple[Kind, ...]:
    """Kinds of which a change wakes a pass."""
    return tuple(kind for kind, traits in TRAITS.items() if traits.heard)


def of_attempts() -> tuple[Kind, ...]:
    """Kinds of which each attempt has its own, with its number as a label."""
    return tuple(kind for kind in readable() if TRAITS[kind].name is None)
