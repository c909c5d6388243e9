"""What a site lets ``podTemplate`` ask for. The operator makes pods with rights that a job's author may not have, so
what would reach beyond the pod is denied unless the site allows the rule by name.

The chart renders the same rules as a ValidatingAdmissionPolicy; a test holds the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from thunderhead_api.names import KEY_SECRET_PATTERN
from thunderhead_operator.plan.objects import Obj, items, section

USERS_VARIABLES: Final = ("THUNDERHEAD_COMPAT",)
"""Variables of our prefix that are for users to set."""
_PREFIX: Final = "THUNDERHEAD_"
_HOST_NAMESPACES: Final = ("hostNetwork", "hostPID", "hostIPC")
_HOST_VOLUMES: Final = ("hostPath", "flexVolume", "gitRepo")
_IDENTITIES: Final = ("serviceAccountToken", "podCertificate")
_SELINUX_TYPES: Final = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_KEY: Final = re.compile(KEY_SECRET_PATTERN)
_SECRETS_OF_VOLUMES: Final = (
    ("secret", "secretName"),
    ("azureFile", "secretName"),
    ("csi", "nodePublishSecretRef", "name"),
    *(
        (kind, "secretRef", "name")
        for kind in ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos")
    ),
)
_HANDLERS: Final = (
    ("startupProbe",),
    ("readinessProbe",),
    ("livenessProbe",),
    ("lifecycle", "postStart"),
    ("lifecycle", "preStop"),
)
_APPARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"


class Deny(StrEnum):
    """Rules, by the names under which a site allows them."""

    HOST_NAMESPACES = "hostNamespaces"
    PROBE_HOSTS = "probeHosts"
    HOST_PATH = "hostPath"
    PRIVILEGED = "privileged"
    CAPABILITIES = "capabilities"
    ROOT_USER = "rootUser"
    PRIVILEGE_ESCALATION = "privilegeEscalation"
    UNCONFINED = "unconfined"
    SERVICE_ACCOUNT = "serviceAccount"
    ATTEMPT_KEYS = "attemptKeys"
    RESERVED_ENV = "reservedEnv"


WHY: Final[Mapping[Deny, str]] = {
    Deny.HOST_NAMESPACES: "a pod shares no namespace and no port with its node",
    Deny.PROBE_HOSTS: "the node's kubelet sends probes and hooks to the pod itself, and to no other host",
    Deny.HOST_PATH: "a pod mounts nothing of its node, and no volume that runs programs there",
    Deny.PRIVILEGED: "no container is privileged",
    Deny.CAPABILITIES: "no container adds capabilities or keeps any",
    Deny.ROOT_USER: "no container runs as root or may",
    Deny.PRIVILEGE_ESCALATION: "no container gains privileges",
    Deny.UNCONFINED: "no container takes off seccomp, AppArmor, SELinux, the masks of /proc, or sets sysctls",
    Deny.SERVICE_ACCOUNT: "a pod has the service account default without a token, or one that the site lists",
    Deny.ATTEMPT_KEYS: "no pod reads the key by which the nodes of an attempt know each other",
    Deny.RESERVED_ENV: f"{_PREFIX}* is what the operator tells the agent",
}


@dataclass(frozen=True)
class Policy:
    """A site's choice."""

    allow: frozenset[str] = frozenset()
    """Rules that jobs may break."""
    service_accounts: frozenset[str] = frozenset()
    """Service accounts that pods may have, with their tokens."""


ALLOW_ALL: Final = Policy(allow=frozenset(Deny))


@dataclass(frozen=True)
class Violation:
    """One field that the site denies."""

    rule: Deny
    path: str
    value: Any

    def __str__(self) -> str:
        """Subject, value, rule, remedy."""
        also = " or list it in policy.serviceAccounts" if self.rule is Deny.SERVICE_ACCOUNT else ""
        return (
            f"spec.podTemplate.{self.path} = {self.value!r}: denied by rule {self.rule}: {WHY[self.rule]}; leave it "
            f"out, or let the administrator allow it: policy.allow: [{self.rule}]{also}"
        )


Found = Iterator[tuple[str, Any]]


def violations(template: Obj | None, policy: Policy) -> list[Violation]:
    """Everything in a pod template that the site denies."""
    if not template:
        return []
    rules = [(rule, check) for rule, check in _RULES.items() if rule not in policy.allow]
    found = [Violation(rule, path, value) for rule, check in rules for path, value in check(template)]
    if Deny.SERVICE_ACCOUNT not in policy.allow:
        found += [Violation(Deny.SERVICE_ACCOUNT, *each) for each in _identity(template, policy.service_accounts)]
    return found


def _pod(template: Obj) -> Obj:
    return section(template, "spec")


def _containers(template: Obj) -> Iterator[tuple[str, Obj]]:
    for kind in ("containers", "initContainers"):
        for container in items(template, "spec", kind):
            yield f"spec.{kind}[{container.get('name')}]", container


def _contexts(template: Obj) -> Iterator[tuple[str, Obj]]:
    """Security contexts, the pod's own first."""
    yield "spec.securityContext", section(_pod(template), "securityContext")
    for path, container in _containers(template):
        yield f"{path}.securityContext", section(container, "securityContext")


def _host_namespaces(template: Obj) -> Found:
    yield from ((f"spec.{name}", True) for name in _HOST_NAMESPACES if _pod(template).get(name) is True)
    for path, container in _containers(template):
        ports = (port.get("hostPort") for port in items(container, "ports"))
        yield from ((f"{path}.ports.hostPort", port) for port in ports if port)


def _probe_hosts(template: Obj) -> Found:
    for path, container in _containers(template):
        for handler in _HANDLERS:
            for action in ("httpGet", "tcpSocket"):
                host = section(container, *handler, action).get("host")
                if host:
                    yield f"{path}.{'.'.join(handler)}.{action}.host", host


def _host_paths(template: Obj) -> Found:
    for volume in items(template, "spec", "volumes"):
        for kind in _HOST_VOLUMES:
            if volume.get(kind) is not None:
                yield f"spec.volumes[{volume.get('name')}].{kind}", section(volume, kind).get("path", "")


def _privileged(template: Obj) -> Found:
    for path, context in _contexts(template):
        if context.get("privileged") is True:
            yield f"{path}.privileged", True
        if section(context, "windowsOptions").get("hostProcess") is True:
            yield f"{path}.windowsOptions.hostProcess", True


def _capabilities(template: Obj) -> Found:
    for path, context in _contexts(template):
        capabilities = section(context, "capabilities")
        if capabilities.get("add"):
            yield f"{path}.capabilities.add", capabilities["add"]
        # A list of the template takes the place of the one that is rendered, which drops all.
        if "drop" in capabilities and "ALL" not in (capabilities["drop"] or ()):
            yield f"{path}.capabilities.drop", capabilities["drop"]


def _root(template: Obj) -> Found:
    for path, context in _contexts(template):
        if context.get("runAsUser") == 0:
            yield f"{path}.runAsUser", 0
        if context.get("runAsNonRoot") is False:
            yield f"{path}.runAsNonRoot", False


def _escalation(template: Obj) -> Found:
    for path, context in _contexts(template):
        if context.get("allowPrivilegeEscalation") is True:
            yield f"{path}.allowPrivilegeEscalation", True


def _unconfined(template: Obj) -> Found:
    for path, context in _contexts(template):
        for profile in ("seccompProfile", "appArmorProfile"):
            if section(context, profile).get("type") == "Unconfined":
                yield f"{path}.{profile}.type", "Unconfined"
        yield from ((f"{path}.seLinuxOptions.{name}", value) for name, value in _selinux(context))
        if context.get("procMount") not in (None, "Default"):
            yield f"{path}.procMount", context["procMount"]
        if context.get("sysctls"):
            yield f"{path}.sysctls", context["sysctls"]
    for key, value in section(template, "metadata", "annotations").items():
        if key.startswith(_APPARMOR) and value == "unconfined":
            yield f"metadata.annotations[{key}]", value


def _selinux(context: Obj) -> Found:
    """A container is confined by its type; user and role decide which types it may take."""
    options = section(context, "seLinuxOptions")
    if (options.get("type") or "") not in _SELINUX_TYPES:
        yield "type", options["type"]
    yield from ((name, options[name]) for name in ("user", "role") if options.get(name))


def _identity(template: Obj, listed: frozenset[str]) -> Found:
    pod = _pod(template)
    name = pod.get("serviceAccountName") or "default"
    if name in listed:
        return
    if name != "default":
        yield "spec.serviceAccountName", name
    if pod.get("automountServiceAccountToken") is True:
        yield "spec.automountServiceAccountToken", True
    for volume in items(pod, "volumes"):
        for source in items(volume, "projected", "sources"):
            for kind in _IDENTITIES:
                if source.get(kind) is not None:
                    yield f"spec.volumes[{volume.get('name')}].projected.sources.{kind}", source[kind]


def _attempt_keys(template: Obj) -> Found:
    yield from ((path, name) for path, name in _secrets(template) if _KEY.search(str(name)))


def _secrets(template: Obj) -> Found:
    """Every Secret that is named."""
    for index, entry in enumerate(items(template, "spec", "imagePullSecrets")):
        yield f"spec.imagePullSecrets[{index}].name", entry.get("name")
    for volume in items(template, "spec", "volumes"):
        path = f"spec.volumes[{volume.get('name')}]"
        for fields in _SECRETS_OF_VOLUMES:
            yield f"{path}.{'.'.join(fields)}", section(volume, *fields[:-1]).get(fields[-1])
        for source in items(volume, "projected", "sources"):
            yield f"{path}.projected.sources.secret.name", section(source, "secret").get("name")
    for path, container in _containers(template):
        for variable in items(container, "env"):
            reference = section(variable, "valueFrom", "secretKeyRef")
            yield f"{path}.env[{variable.get('name')}].valueFrom.secretKeyRef.name", reference.get("name")
        for source in items(container, "envFrom"):
            yield f"{path}.envFrom.secretRef.name", section(source, "secretRef").get("name")


def _reserved(template: Obj) -> Found:
    """``envFrom`` without a prefix may hold any name; what the operator sets itself wins over it."""
    for path, container in _containers(template):
        for variable in items(container, "env"):
            name = str(variable.get("name"))
            if name.startswith(_PREFIX) and name not in USERS_VARIABLES:
                yield f"{path}.env[{name}]", variable.get("value", "")
        for source in items(container, "envFrom"):
            prefix = source.get("prefix")
            if prefix and (_PREFIX.startswith(prefix) or str(prefix).startswith(_PREFIX)):
                yield f"{path}.envFrom.prefix", prefix


_RULES: Final[Mapping[Deny, Callable[[Obj], Found]]] = {
    Deny.HOST_NAMESPACES: _host_namespaces,
    Deny.PROBE_HOSTS: _probe_hosts,
    Deny.HOST_PATH: _host_paths,
    Deny.PRIVILEGED: _privileged,
    Deny.CAPABILITIES: _capabilities,
    Deny.ROOT_USER: _root,
    Deny.PRIVILEGE_ESCALATION: _escalation,
    Deny.UNCONFINED: _unconfined,
    Deny.ATTEMPT_KEYS: _attempt_keys,
    Deny.RESERVED_ENV: _reserved,
}


class PolicyError(ValueError):
    """A policy that cannot be read; the message says what is wrong."""


def parse_policy(value: Any) -> Policy:
    """A site's choice as the chart writes it: ``{"allow": [...], "serviceAccounts": [...]}``.

    Raises:
        PolicyError: saying what is wrong.
    """
    known = {"allow", "serviceAccounts"}
    lists = value.values() if isinstance(value, dict) else [None]
    if not isinstance(value, dict) or value.keys() - known or not all(_is_names(each) for each in lists):
        raise PolicyError(f"{value!r} must be an object with lists of names: allow, serviceAccounts")
    allow = frozenset(value.get("allow", ()))
    strange = sorted(allow - set(Deny))
    if strange:
        raise PolicyError(f"allow: {strange} are no rules; there are {', '.join(Deny)}")
    return Policy(allow, frozenset(value.get("serviceAccounts", ())))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
