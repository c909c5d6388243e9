"""That nothing of a pod template was overlooked: each field of its schema is denied by a rule or open for a reason, and
what the Pod Security Standards restrict is denied."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from policy_cases import CASES, KEY

from thunderhead_api.schema import crd
from thunderhead_operator.plan.policy import Deny, Policy, violations

Schema = Mapping[str, Any]
CONTEXTS = ("spec.securityContext", "spec.containers.securityContext")
HANDLERS = ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle.postStart", "lifecycle.preStop")
PROBES = HANDLERS[:3]
CONTAINER = "spec.containers."
VOLUME = "spec.volumes."


def under(prefix: str, names: str) -> list[str]:
    return [prefix + name for name in names.split()]


STANDARDS: dict[str, list[str]] = {
    "baseline: HostProcess": [f"{context}.windowsOptions.hostProcess" for context in CONTEXTS],
    "baseline: Host Namespaces": ["spec.hostNetwork", "spec.hostPID", "spec.hostIPC"],
    "baseline: Privileged Containers": ["spec.containers.securityContext.privileged"],
    "baseline: Capabilities": ["spec.containers.securityContext.capabilities.add"],
    "baseline: HostPath Volumes": ["spec.volumes.hostPath.path"],
    "baseline: Host Ports": ["spec.containers.ports.hostPort"],
    "baseline: Host Probes / Lifecycle Hooks": [
        f"{CONTAINER}{handler}.{action}.host" for handler in HANDLERS for action in ("httpGet", "tcpSocket")
    ],
    "baseline: AppArmor": [*(f"{context}.appArmorProfile.type" for context in CONTEXTS), "metadata.annotations"],
    "baseline: SELinux": [
        f"{context}.seLinuxOptions.{name}" for context in CONTEXTS for name in ("type", "user", "role")
    ],
    "baseline: /proc Mount Type": ["spec.containers.securityContext.procMount"],
    "baseline: Seccomp": [f"{context}.seccompProfile.type" for context in CONTEXTS],
    "baseline: Sysctls": ["spec.securityContext.sysctls.name"],
    "restricted: Privilege Escalation": ["spec.containers.securityContext.allowPrivilegeEscalation"],
    "restricted: Running as Non-root": [f"{context}.runAsNonRoot" for context in CONTEXTS],
    "restricted: Running as Non-root user": [f"{context}.runAsUser" for context in CONTEXTS],
    "restricted: Capabilities": ["spec.containers.securityContext.capabilities.drop"],
}
"""Fields by control. Of restricted the volume types are left out, whose other kinds are OPEN below."""

OPEN: dict[str, list[str]] = {
    "the program of a container, inside its confinement": [
        *under(CONTAINER, "name image imagePullPolicy command args workingDir stdin stdinOnce tty env.value"),
        *under(
            CONTAINER, "restartPolicy restartPolicyRules resizePolicy lifecycle.stopSignal terminationMessagePolicy"
        ),
    ],
    "a path in the container's own files, which the kubelet bounds": [
        *under(CONTAINER, "terminationMessagePath volumeDevices"),
        *under(CONTAINER + "volumeMounts.", "name mountPath readOnly recursiveReadOnly subPath subPathExpr"),
    ],
    "Bidirectional is for privileged containers only, by the API server's validation": [
        CONTAINER + "volumeMounts.mountPropagation"
    ],
    "what the kubelet asks of the pod itself": [
        *(
            field
            for handler in HANDLERS
            for field in under(
                f"{CONTAINER}{handler}.",
                "exec httpGet.httpHeaders httpGet.path httpGet.port httpGet.scheme tcpSocket.port",
            )
        ),
        *(
            field
            for probe in PROBES
            for field in under(
                f"{CONTAINER}{probe}.",
                "grpc failureThreshold successThreshold initialDelaySeconds periodSeconds timeoutSeconds"
                " terminationGracePeriodSeconds",
            )
        ),
        *under(CONTAINER + "lifecycle.", "postStart.sleep preStop.sleep"),
    ],
    "a port of the pod's own address": under(CONTAINER + "ports.", "containerPort hostIP name protocol"),
    "what the pod says of itself": [
        *under(CONTAINER + "env.valueFrom.", "fieldRef fileKeyRef resourceFieldRef"),
        *under(VOLUME, "downwardAPI projected.sources.downwardAPI"),
    ],
    "the namespace is the boundary: its ConfigMaps, claims, and Secrets other than keys are a pod's for the naming": [
        *under(CONTAINER, "env.valueFrom.configMapKeyRef envFrom.configMapRef envFrom.secretRef.optional"),
        *under(CONTAINER + "env.valueFrom.secretKeyRef.", "key optional"),
        *under(VOLUME, "configMap projected.sources.configMap persistentVolumeClaim ephemeral"),
        *under(VOLUME + "secret.", "defaultMode items optional"),
        *under(VOLUME + "projected.sources.secret.", "items optional"),
        "spec.resourceClaims",
    ],
    "public: certificates of authorities": [VOLUME + "projected.sources.clusterTrustBundle"],
    "the pod's own files": under(VOLUME, "name projected.defaultMode emptyDir image"),
    "the driver bounds what pods may have inline": under(VOLUME + "csi.", "driver fsType readOnly volumeAttributes"),
    "mounted with the node's network and its rights in the cloud: only level restricted denies it, as the docs say": [
        *under(VOLUME, "awsElasticBlockStore azureDisk azureFile cephfs cinder fc flocker gcePersistentDisk glusterfs"),
        *under(VOLUME, "iscsi nfs photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume"),
    ],
    "written onto the nodes by an administrator": [
        *(f"{context}.appArmorProfile.localhostProfile" for context in CONTEXTS),
        *(f"{context}.seccompProfile.localhostProfile" for context in CONTEXTS),
    ],
    "groups and levels, which no standard restricts": [
        *under("spec.containers.securityContext.", "runAsGroup seLinuxOptions.level"),
        *under("spec.securityContext.", "runAsGroup seLinuxOptions.level fsGroup fsGroupChangePolicy"),
        *under("spec.securityContext.", "supplementalGroups supplementalGroupsPolicy seLinuxChangePolicy"),
    ],
    "makes the container's own files writable, nothing else": [CONTAINER + "securityContext.readOnlyRootFilesystem"],
    "heeded on Windows only, where the agent does not run": [
        field
        for context in CONTEXTS
        for field in under(f"{context}.windowsOptions.", "gmsaCredentialSpec gmsaCredentialSpecName runAsUserName")
    ],
    "for the cluster's own admission: quotas, priority and runtime classes, taints": [
        *under("spec.", "priority priorityClassName preemptionPolicy runtimeClassName overhead os resources"),
        *under("spec.", "schedulerName schedulingGates schedulingGroup readinessGates"),
        *under("spec.", "nodeSelector affinity tolerations topologySpreadConstraints"),
        CONTAINER + "resources",
    ],
    "the pod's own view of names, users and processes": under(
        "spec.", "dnsConfig dnsPolicy hostAliases enableServiceLinks hostUsers shareProcessNamespace"
    ),
    "ours win over the template's": ["metadata.labels"],
}
"""What no rule denies, by the reason."""


def leaves(schema: Schema, path: str = "") -> Iterator[str]:
    """Fields by their path, with neither lists nor maps in it; init containers are containers."""
    if "properties" in schema:
        for name, child in schema["properties"].items():
            name = "containers" if name == "initContainers" else name
            yield from leaves(child, f"{path}.{name}" if path else name)
    elif "properties" in schema.get("items", {}):
        yield from leaves(schema["items"], path)
    else:
        yield path


def template_schema() -> Schema:
    version: Schema = crd()["spec"]["versions"][0]
    found: Schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["podTemplate"]
    return found


def field(path: str) -> str:
    """A violation's path as one of the schema."""
    named = re.sub(r"\.env\[[^]]*\]$", ".env.name", path)
    return re.sub(r"\[[^]]*\]", "", named).replace("initContainers", "containers")


FIELDS = sorted(set(leaves(template_schema())))
DENIED_FIELDS = {field(violation.path) for _, template in CASES for violation in violations(template, Policy())}


def within(path: str, fields: set[str]) -> bool:
    return any(path == each or path.startswith(each + ".") for each in fields)


def test_every_field_is_denied_or_open_for_a_reason() -> None:
    reasons = {path for paths in OPEN.values() for path in paths}
    assert [f for f in FIELDS if not within(f, DENIED_FIELDS) and not within(f, reasons)] == []


def test_no_reason_is_given_for_what_is_not_there() -> None:
    unclaimed = [f for f in FIELDS if not within(f, DENIED_FIELDS)]
    assert [path for paths in OPEN.values() for path in paths if not any(within(f, {path}) for f in unclaimed)] == []


@pytest.mark.parametrize("control", STANDARDS)
def test_a_rule_denies_what_the_standards_restrict(control: str) -> None:
    assert [f for f in STANDARDS[control] if f not in FIELDS] == []
    assert [f for f in STANDARDS[control] if not within(f, DENIED_FIELDS)] == []


def naming(schema: Schema, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each field that names a Secret, and the smallest value that names a key there."""
    for name, child in schema.get("properties", {}).items():
        here = (*path, name)
        if "properties" in child or child.get("type") == "array":
            listed = child.get("type") == "array"
            for found, value in naming(child.get("items", {}) if listed else child, here):
                yield found, {name: [value] if listed else value}
        elif name == "secretName" or (name == "name" and "secret" in ".".join(path).lower()):
            yield ".".join(here), {name: KEY}


NAMING = dict(naming(template_schema()))


def test_there_are_fields_that_name_secrets() -> None:
    assert {"spec.imagePullSecrets.name", "spec.containers.envFrom.secretRef.name"} < set(NAMING)
    assert len(NAMING) == 16


@pytest.mark.parametrize("path", NAMING)
def test_no_field_names_the_key_of_an_attempt(path: str) -> None:
    assert Deny.ATTEMPT_KEYS in {violation.rule for violation in violations(NAMING[path], Policy())}
