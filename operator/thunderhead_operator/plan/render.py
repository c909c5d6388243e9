"""Children of a job that are no pods: its Service and NetworkPolicy, and the frozen job and code of each attempt."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from thunderhead_api.messages import FrozenJob
from thunderhead_api.names import (
    code_config_map_name,
    job_config_map_name,
    key_secret_name,
    network_policy_name,
    service_name,
)
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.spec_hash import HASH_HEX_DIGITS
from thunderhead_api.treaty import (
    AGENT_PORT,
    AGENT_PORT_NAME,
    API_VERSION,
    JOB_FILE_NAME,
    KEY_FILE_NAME,
    KIND,
    MANAGED_BY,
    RENDEZVOUS_PORT,
    Annotation,
    Label,
)
from thunderhead_operator.plan.actions import CreateChild, CreateKey
from thunderhead_operator.plan.code import hash_of
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Manifest, int_label, owner_uid, section
from thunderhead_operator.plan.spec_change import remembered

_NOT_ACCELERATORS = ("cpu", "memory", "ephemeral-storage", "pods")
_ACCELERATOR_WORDS = ("gpu", "tpu", "mig-", "accelerator", "neuron", "npu", "hpu", "xpu")


def job_children(ctx: Context) -> tuple[CreateChild, ...]:
    """One Service and one NetworkPolicy per job, for all of its attempts."""
    return (
        CreateChild(Kind.SERVICE, _service(ctx)),
        CreateChild(Kind.NETWORK_POLICY, _network_policy(ctx)),
    )


def attempt_children(ctx: Context) -> tuple[CreateChild, ...]:
    """What the pods of the attempt mount: written once, immutable, so that a later edit cannot reach half of them."""
    job, uid, attempt = ctx.job.name, ctx.job.uid, ctx.status.attempt
    labels = child_labels(ctx, attempt)
    frozen = frozen_job(ctx).model_dump_json()
    assert ctx.job.spec is not None
    data = {JOB_FILE_NAME: frozen, **remembered(ctx.job.spec)}
    maps = [_config_map(ctx, job_config_map_name(job, uid, attempt), labels, data)]
    code = _code(ctx)
    if code is not None:
        copy = _config_map(ctx, code_config_map_name(job, uid, attempt), labels, **code)
        copy["metadata"]["annotations"] = _made_for(ctx, copy)
        maps.append(copy)
    return tuple(CreateChild(Kind.CONFIG_MAP, manifest) for manifest in maps)


def attempt_key(ctx: Context) -> tuple[CreateKey, ...]:
    """What the agents of the attempt know each other by; a single one has nobody to meet.

    Asked for as long as none of its pods has been made, since whether it is there cannot be seen; pods that were made
    without one are no longer there by then, see ``half_made``."""
    if not has_key(ctx) or ctx.current:
        return ()
    job, uid, attempt = ctx.job.name, ctx.job.uid, ctx.status.attempt
    meta = metadata(ctx, key_secret_name(job, uid, attempt), child_labels(ctx, attempt))
    manifest = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": meta, "immutable": True}
    return (CreateKey(manifest, KEY_FILE_NAME, owner=job_config_map_name(job, uid, attempt)),)


def has_key(ctx: Context) -> bool:
    """Whether the pods of the attempt have somebody to know."""
    return ctx.num_nodes > 1


def frozen_job(ctx: Context) -> FrozenJob:
    """The resolved job of the running attempt. Code and pod template reach the pod by other ways and stay out of it."""
    spec = ctx.job.spec
    assert spec is not None
    processes = processes_per_node(spec)
    ours = {"nodes": ctx.num_nodes, "processes_per_node": processes}
    resolved = spec.model_copy(update={**ours, "code": None, "pod_template": None})
    return FrozenJob(
        namespace=ctx.job.namespace,
        name=ctx.job.name,
        uid=ctx.job.uid,
        attempt=ctx.status.attempt,
        nodes=ctx.num_nodes,
        processes_per_node=processes,
        spec_hash=ctx.status.spec_hash or "",
        checkpoint=ctx.status.checkpoint,
        reached_step=max((entry.last_step or 0 for entry in ctx.status.ledger), default=0),
        spec=resolved.model_dump(mode="json", exclude_none=True),
    )


def processes_per_node(spec: TrainingJobSpec) -> int:
    """``processesPerNode``, where ``Auto`` is the number of accelerators in the limits of a pod, else 1."""
    if spec.processes_per_node != "Auto":
        return spec.processes_per_node
    counts = [int(amount) for name, amount in spec.resources.limits.items() if is_accelerator(name, amount)]
    return max(1, sum(counts))


def is_accelerator(name: str, amount: int | str) -> bool:
    """Whether a resource counts devices to train on: an extended resource (``vendor.com/gpu``) of a known word."""
    whole = isinstance(amount, int) or str(amount).isdigit()
    if "/" not in name or name in _NOT_ACCELERATORS or not whole:
        return False
    return any(word in name.partition("/")[2].lower() for word in _ACCELERATOR_WORDS)


def has_code(spec: TrainingJobSpec) -> bool:
    """Whether the attempt has a ConfigMap of the user's files."""
    return spec.code is not None and (spec.code.config_map is not None or spec.code.inline is not None)


def make_hash(rendered: Any) -> str:
    """What tells later whether the same would be rendered again. What the API server or an admission made of it is no
    matter."""
    return hashlib.sha256(json.dumps(rendered, sort_keys=True).encode()).hexdigest()[:HASH_HEX_DIGITS]


def child_labels(ctx: Context, attempt: int | None = None) -> dict[str, str]:
    """Labels of a child, of one attempt or of the whole job."""
    labels = {
        Label.JOB.value: ctx.job.name,
        Label.JOB_UID.value: ctx.job.uid,
        Label.APP.value: "trainingjob",
        Label.PART_OF.value: "thunderhead",
        Label.MANAGER.value: MANAGED_BY.replace("/", "-"),
    }
    return labels if attempt is None else labels | {Label.ATTEMPT.value: str(attempt)}


def metadata(ctx: Context, name: str, labels: dict[str, str]) -> Manifest:
    """Metadata of a child: its controller is the job, so that it goes when the job goes."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": ctx.job.name,
        "uid": ctx.job.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {"name": name, "namespace": ctx.job.namespace, "labels": labels, "ownerReferences": [owner]}


def _code(ctx: Context) -> dict[str, Any] | None:
    """``data`` and ``binaryData`` of the code ConfigMap; None while the user's own is not there, or there is none."""
    spec = ctx.job.spec
    if spec is None or spec.code is None:
        return None
    if spec.code.inline is not None:
        return {"data": dict(spec.code.inline.files)}
    if ctx.observed.code is None:
        return None
    data, binary = section(ctx.observed.code, "data"), section(ctx.observed.code, "binaryData")
    return {"data": dict(data)} | ({"binary": dict(binary)} if binary else {})


def _made_for(ctx: Context, copy: Manifest) -> dict[str, str]:
    """What a later attempt asks of a copy of the code: of which spec and restart it is, and whence."""
    spec = ctx.job.spec
    source = spec.code.config_map if spec and spec.code else None
    return {
        Annotation.CODE_HASH.value: hash_of(copy),
        Annotation.SPEC_HASH.value: ctx.status.spec_hash or "",
        Annotation.RESTART.value: ctx.status.restart or "",
        Annotation.CODE_FROM.value: source.name if source else "",
    }


def _config_map(
    ctx: Context, name: str, labels: dict[str, str], data: dict[str, str], binary: dict[str, str] | None = None
) -> Manifest:
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(ctx, name, labels),
        "data": data,
        "immutable": True,
    }
    return manifest | ({"binaryData": binary} if binary else {})


def _service(ctx: Context) -> Manifest:
    """Headless, and with the addresses of pods that are not ready: ranks have to find each other before they can be."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(ctx, service_name(ctx.job.name), child_labels(ctx)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {Label.JOB.value: ctx.job.name},
            "ports": [
                {"name": AGENT_PORT_NAME, "port": AGENT_PORT, "protocol": "TCP"},
                {"name": "rendezvous", "port": RENDEZVOUS_PORT, "protocol": "TCP"},
            ],
        },
    }


def _network_policy(ctx: Context) -> Manifest:
    """In: the job's own pods on every port, operator and Prometheus on the agents'. Out: open (data, object store).

    Labels are all that a policy can tell pods of one namespace apart by. The uid cannot be guessed and belongs to this
    job alone; who may read it and make pods in its namespace can bear it, see ``docs/install.md``."""
    own = {"podSelector": {"matchLabels": _own_labels(ctx)}}
    agent = {"port": AGENT_PORT, "protocol": "TCP"}
    spec = {
        "podSelector": {"matchLabels": {Label.JOB.value: ctx.job.name}},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [own]},
            {"from": [dict(peer) for peer in ctx.config.agent_peers], "ports": [agent]},
        ],
    }
    meta = metadata(ctx, network_policy_name(ctx.job.name), child_labels(ctx))
    meta["annotations"] = {Annotation.MAKE.value: make_hash(spec)}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


def _own_labels(ctx: Context) -> dict[str, str]:
    """Without the uid where a pod of the attempt was made before pods bore it: one whose policy is made
    again or renewed would else be kept from its peers."""
    job, uid = {Label.JOB.value: ctx.job.name}, {Label.JOB_UID.value: ctx.job.uid}
    ours = (pod for pod in ctx.observed.of(Kind.POD) if owner_uid(pod) == ctx.job.uid)
    pods = [pod for pod in ours if int_label(pod, Label.ATTEMPT) == ctx.status.attempt]
    return job | uid if all(Label.JOB_UID in section(pod, "metadata", "labels") for pod in pods) else job
