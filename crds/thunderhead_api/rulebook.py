"""The rules that a type or a bound cannot say: each once as CEL for the API server and once as Python for us.

A model or field names its rules with :mod:`thunderhead_api.hints`; the schema carries the CEL, validation runs the
Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from thunderhead_api.rules import BEYOND_RULES, pattern_problem


@dataclass(frozen=True)
class Rule:
    """One rule on ``self``, a JSON value after defaulting."""

    cel: str
    message: str
    holds: Callable[[Any], bool] | None
    """The same in Python; None for a rule about a change, which a single object cannot break."""
    field: str | None = None
    """The field at fault, below ``self``."""


def _s3_only_with_s3(checkpoint: Any) -> bool:
    return "s3" not in checkpoint or str(checkpoint.get("uri", "")).startswith("s3://")


def _extended_as_limits(resources: Any) -> bool:
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    return all("/" not in name or str(limits.get(name)) == str(amount) for name, amount in requests.items())


def _fixed(field: str, world: str, *or_else: str) -> Rule:
    """A rule on the whole object: what the job's checkpoints were taken with stays, or is set back to that."""
    new, old = f"self.spec.{field}", f"oldSelf.spec.{field}"
    free = (
        f"{new} == {old}",
        *or_else,
        "!has(oldSelf.status) || !has(oldSelf.status.world) || !has(oldSelf.status.world.fixed)",
        "!oldSelf.status.world.fixed || self.spec.checkpoint.resume == 'Never'",
        f"{new} == oldSelf.status.world.{world}",
    )
    return Rule(
        " || ".join(free),
        f"{field} cannot be changed any more: the job's checkpoints were taken with it (status.world), and none could"
        " go on from them; delete the job and make another, or begin from zero with checkpoint.resume: Never",
        None,
        field=f"spec.{field}",
    )


_BEYOND: Final = sorted(cause.value for cause in BEYOND_RULES)

RULES: Final[Mapping[str, Rule]] = {
    "oneCodeSource": Rule(
        "has(self.configMap) != has(self.inline)",
        "needs exactly one of configMap and inline; leave code out when the files are in the image",
        lambda code: ("configMap" in code) != ("inline" in code),
    ),
    "s3OnlyWithS3": Rule(
        "!has(self.s3) || self.uri.startsWith('s3://')",
        "s3 says how to reach an s3:// URI; leave it out for a file:// URI",
        _s3_only_with_s3,
        field="s3",
    ),
    "managedByImmutable": Rule(
        "has(self.managedBy) ? has(oldSelf.managedBy) && self.managedBy == oldSelf.managedBy : !has(oldSelf.managedBy)",
        "managedBy cannot be changed; delete the job and make another",
        None,
        field="managedBy",
    ),
    "nodesFixed": _fixed("nodes", "nodes"),
    "processesFixed": _fixed("processesPerNode", "processesPerNode", "type(self.spec.processesPerNode) != int"),
    "checkpointUriFixed": _fixed("checkpoint.uri", "checkpointUri"),
    "notTheNumberOne": Rule(
        "type(self) != int || self != 1",
        '1 is ambiguous, because YAML\'s 1.0 arrives as 1 too: write "100%" for all batches or "1 batch" for one',
        lambda limit: limit != 1,
    ),
    "ruleSaysSomething": Rule(
        "has(self.exitCodes) || has(self.reasons) || has(self.message)",
        "needs at least one of exitCodes, reasons and message, else it would match every failure",
        lambda rule: not {"exitCodes", "reasons", "message"}.isdisjoint(rule),
    ),
    "reasonsAreFailures": Rule(
        f"!has(self.reasons) || self.reasons.all(reason, !(reason in {_BEYOND!r}))",
        f"reasons cannot hold {', '.join(_BEYOND)}: these are no failures, or no restart can help",
        lambda rule: BEYOND_RULES.isdisjoint(rule.get("reasons", ())),
        field="reasons",
    ),
    "messageIsPattern": Rule(
        "!has(self.message) || ''.matches(self.message) || !''.matches(self.message)",
        "message must be a regular expression in RE2's syntax",
        lambda rule: "message" not in rule or pattern_problem(rule["message"]) is None,
        field="message",
    ),
    "extendedAsLimits": Rule(
        "!has(self.requests) || self.requests.all(name, !name.contains('/') || (has(self.limits) && name in self.limits"
        " && string(self.limits[name]) == string(self.requests[name])))",
        "an extended resource (a name with '/', like nvidia.com/gpu) belongs in limits; requests may only repeat it",
        _extended_as_limits,
        field="requests",
    ),
}

_POD = "spec.podTemplate.spec"

ELSEWHERE: Final[Mapping[str, str]] = {
    f"{_POD}.activeDeadlineSeconds": "write spec.activeDeadlineSeconds",
    f"{_POD}.terminationGracePeriodSeconds": "write spec.terminationGracePeriodSeconds",
    f"{_POD}.nodeName": "ask for a node with nodeSelector or affinity",
    f"{_POD}.restartPolicy": "the operator restarts; see spec.restarts",
    f"{_POD}.hostname": "pods are called <job>-<attempt>-<node rank>",
    f"{_POD}.hostnameOverride": "pods are called <job>-<attempt>-<node rank>",
    f"{_POD}.setHostnameAsFQDN": "pods are called <job>-<attempt>-<node rank>",
    f"{_POD}.subdomain": "it is the job's own Service",
    f"{_POD}.serviceAccount": "write serviceAccountName",
    f"{_POD}.ephemeralContainers": "Kubernetes takes none when a pod is created",
    "spec.devices": "write processesPerNode, and accelerators in resources.limits",
    "spec.num_nodes": "write nodes",
}
"""Advice for fields that are known from elsewhere but not part of the API; the server calls them unknown."""
