"""The pod of one node: restricted, one container ``trainer``, everything of the treaty in its environment."""

from __future__ import annotations

from typing import Any, Final

from thunderhead_api.names import (
    code_config_map_name,
    job_config_map_name,
    key_secret_name,
    pod_name,
    rendezvous_host,
    service_name,
)
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.treaty import (
    AGENT_COMMAND,
    AGENT_PORT,
    AGENT_PORT_NAME,
    CODE_DIR,
    CONTAINER,
    HEALTH_PATH,
    JOB_DIR,
    JOB_FILE_NAME,
    KEY_DIR,
    KEY_FILE_NAME,
    RENDEZVOUS_PORT,
    RUN_DIR,
    TERMINATION_FILE,
    Annotation,
    Cause,
    Env,
    Label,
)
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.half_made import image_of, make_of
from thunderhead_operator.plan.objects import Manifest
from thunderhead_operator.plan.overlay import overlay
from thunderhead_operator.plan.render import child_labels, has_code, has_key, metadata
from thunderhead_operator.plan.without import without

HOSTNAME_KEY: Final = "kubernetes.io/hostname"
_RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_PROBE_S: Final = 2
_PROBE: Final = {
    "httpGet": {"path": HEALTH_PATH, "port": AGENT_PORT_NAME},
    "periodSeconds": _PROBE_S,
    "timeoutSeconds": 2,
}
_SCRATCH: Final = {"tmp": "/tmp", "run": RUN_DIR, "shm": "/dev/shm"}
_CREDENTIALS: Final = (("AWS_ACCESS_KEY_ID", False), ("AWS_SECRET_ACCESS_KEY", False), ("AWS_SESSION_TOKEN", True))
_IDENTITY: Final = ("restartPolicy", "hostname", "subdomain", "nodeName")
"""Fields of a pod that are the attempt's own; a template cannot change them."""


def render_pod(ctx: Context, rank: int) -> Manifest:
    """Manifest of the pod of node rank ``rank`` in the running attempt."""
    spec = ctx.job.spec
    assert spec is not None
    labels = child_labels(ctx, ctx.status.attempt) | {Label.NODE_RANK.value: str(rank)}
    meta = metadata(ctx, pod_name(ctx.job.name, ctx.status.attempt, rank), labels)
    template = spec.pod_template or {}
    over_meta = template.get("metadata") or {}
    meta["labels"] = {**(over_meta.get("labels") or {}), **labels}
    meta["annotations"] = {**(over_meta.get("annotations") or {}), Annotation.MAKE.value: make_of(ctx, spec)}
    rendered = without(_pod_spec(ctx, spec, rank), template)
    over = {key: value for key, value in (template.get("spec") or {}).items() if key not in _IDENTITY}
    merged = overlay(rendered, over)
    _restrict_sidecars(merged)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": merged}


def _pod_spec(ctx: Context, spec: TrainingJobSpec, rank: int) -> Manifest:
    return {
        "restartPolicy": "Never",
        "hostname": pod_name(ctx.job.name, ctx.status.attempt, rank),
        "subdomain": service_name(ctx.job.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": spec.termination_grace_period_seconds,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": _tolerations(ctx),
        **_placement(ctx),
        **_pull_secrets(ctx, spec),
        "containers": [_trainer(ctx, spec, rank)],
        "volumes": _volumes(ctx, spec),
    }


def _tolerations(ctx: Context) -> list[Manifest]:
    """Kubernetes' default of 300 s on a dead node is the largest part of every slow recovery; ours is short."""
    return [
        {
            "key": f"node.kubernetes.io/{taint}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": ctx.config.node_loss_toleration_s,
        }
        for taint in ("not-ready", "unreachable")
    ]


def _placement(ctx: Context) -> Manifest:
    """One pod per machine where there are enough, and away from a node that was just lost: until it is called
    unreachable it looks like the emptiest of all. Both are wishes; a smaller cluster still runs the job."""
    attempt = {"matchLabels": {Label.JOB.value: ctx.job.name, Label.ATTEMPT.value: str(ctx.status.attempt)}}
    term = {"topologyKey": HOSTNAME_KEY, "labelSelector": attempt}
    affinity: Manifest = {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]
        }
    }
    avoid = _lost_node(ctx)
    if avoid:
        away = {"matchExpressions": [{"key": HOSTNAME_KEY, "operator": "NotIn", "values": [avoid]}]}
        affinity["nodeAffinity"] = {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": away}]
        }
    spread = {"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", **term}
    return {"affinity": affinity, "topologySpreadConstraints": [spread]}


def _lost_node(ctx: Context) -> str | None:
    last = ctx.status.ledger[-1] if ctx.status.ledger else None
    return last.culprit.node if last and last.cause is Cause.NODE_LOST and last.culprit else None


def _pull_secrets(ctx: Context, spec: TrainingJobSpec) -> Manifest:
    """The site's, for the site's image alone: a job that names its own image brings its own by podTemplate."""
    names = ctx.config.runtime_pull_secrets if spec.image is None else ()
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}


def _trainer(ctx: Context, spec: TrainingJobSpec, rank: int) -> Manifest:
    policy = ctx.config.runtime_pull_policy if spec.image is None else None
    return {
        "name": CONTAINER,
        "image": image_of(ctx, spec),
        **({"imagePullPolicy": policy} if policy else {}),
        "command": list(AGENT_COMMAND),
        "env": _environment(ctx, spec, rank),
        "ports": [
            {"name": AGENT_PORT_NAME, "containerPort": AGENT_PORT, "protocol": "TCP"},
            {"name": "rendezvous", "containerPort": RENDEZVOUS_PORT, "protocol": "TCP"},
        ],
        "resources": spec.resources.model_dump(mode="json", exclude_defaults=True),
        "startupProbe": _startup_probe(spec),
        "readinessProbe": {**_PROBE, "failureThreshold": 5},
        "terminationMessagePath": TERMINATION_FILE,
        # An agent that dies before it can write its record leaves the end of its log: the kubelet reads it for us.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": dict(_RESTRICTED),
        "volumeMounts": _mounts(ctx, spec),
    }


def _startup_probe(spec: TrainingJobSpec) -> Manifest:
    """Each probe that fails leaves a Warning at the pod, so none is sent while Python starts. When it is too late for a
    start is for the job's own deadline to say: a kubelet that gives up would take the container with it."""
    tries = spec.startup_deadline_seconds // _PROBE_S + 60
    return {**_PROBE, "initialDelaySeconds": 5, "failureThreshold": tries}


def _environment(ctx: Context, spec: TrainingJobSpec, rank: int) -> list[Manifest]:
    job, attempt = ctx.job, ctx.status.attempt
    values = {
        Env.JOB: job.name,
        Env.NAMESPACE: job.namespace,
        Env.UID: job.uid,
        Env.ATTEMPT: str(attempt),
        Env.NODE_RANK: str(rank),
        Env.NODES: str(ctx.num_nodes),
        Env.RENDEZVOUS_HOST: rendezvous_host(job.name, attempt, job.namespace),
        Env.RENDEZVOUS_PORT: str(RENDEZVOUS_PORT),
        Env.AGENT_PORT: str(AGENT_PORT),
        Env.JOB_FILE: f"{JOB_DIR}/{JOB_FILE_NAME}",
        Env.POD: pod_name(job.name, attempt, rank),
        Env.TERMINATION_FILE: TERMINATION_FILE,
        Env.RUN_DIR: RUN_DIR,
    }
    if has_code(spec):
        values[Env.CODE_DIR] = CODE_DIR
    if has_key(ctx):
        values[Env.KEY_FILE] = f"{KEY_DIR}/{KEY_FILE_NAME}"
    env: list[Manifest] = [{"name": name.value, "value": value} for name, value in values.items()]
    env.append({"name": Env.NODE.value, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}})
    env.append({"name": "HOME", "value": "/tmp"})
    return [*env, *_credentials(spec)]


def _credentials(spec: TrainingJobSpec) -> list[Manifest]:
    """By reference: the kubelet reads the Secret, the operator never does. A missing one is reported by the kubelet."""
    s3 = spec.checkpoint.s3
    if s3 is None or s3.credentials_secret_name is None:
        return []
    secret = s3.credentials_secret_name
    return [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": optional}}}
        for key, optional in _CREDENTIALS
    ]


def _mounts(ctx: Context, spec: TrainingJobSpec) -> list[Manifest]:
    mounts: list[Manifest] = [{"name": "job", "mountPath": JOB_DIR, "readOnly": True}]
    if has_code(spec):
        mounts.append({"name": "code", "mountPath": CODE_DIR, "readOnly": True})
    if has_key(ctx):
        mounts.append({"name": "attempt-key", "mountPath": KEY_DIR, "readOnly": True})
    return [*mounts, *({"name": name, "mountPath": path} for name, path in _SCRATCH.items())]


def _volumes(ctx: Context, spec: TrainingJobSpec) -> list[Manifest]:
    job, uid, attempt = ctx.job.name, ctx.job.uid, ctx.status.attempt
    volumes: list[Manifest] = [{"name": "job", "configMap": {"name": job_config_map_name(job, uid, attempt)}}]
    if has_code(spec):
        volumes.append({"name": "code", "configMap": {"name": code_config_map_name(job, uid, attempt)}})
    if has_key(ctx):
        volumes.append({"name": "attempt-key", "secret": {"secretName": key_secret_name(job, uid, attempt)}})
    return [
        *volumes,
        {"name": "tmp", "emptyDir": {}},
        {"name": "run", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]


def _restrict_sidecars(pod_spec: dict[str, Any]) -> None:
    """Containers of the template are restricted as ours is, unless they say otherwise themselves."""
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(pod_spec.get(kind, [])):
            over = container.get("securityContext") or {}
            pod_spec[kind][index] = {**container, "securityContext": overlay(_RESTRICTED, over)}
