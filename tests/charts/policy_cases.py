"""Pod templates by the rule of the site's policy that denies them, and ones that no rule denies."""

from __future__ import annotations

from typing import Any

from thunderhead_api.names import key_secret_name
from thunderhead_operator.plan.policy import Deny

Manifest = dict[str, Any]
AWAY = "169.254.169.254"
KEY = key_secret_name("other-1", "01234567-89ab-cdef-0123-456789abcdef", 12)


def pod(**spec: Any) -> Manifest:
    return {"spec": spec}


def trainer(**fields: Any) -> Manifest:
    return pod(containers=[{"name": "trainer", **fields}])


def in_any(**fields: Any) -> list[Manifest]:
    """The same fields in the trainer, in a sidecar and in an init container."""
    sidecar = {"name": "proxy", "image": "proxy:1", **fields}
    return [
        trainer(**fields),
        pod(containers=[{"name": "trainer"}, sidecar]),
        pod(initContainers=[{**sidecar, "restartPolicy": "Always"}]),
    ]


def restricted(**context: Any) -> list[Manifest]:
    return in_any(securityContext=context)


def volume(**source: Any) -> Manifest:
    return pod(volumes=[{"name": "v", **source}])


def projected(kind: str, **fields: Any) -> Manifest:
    return volume(projected={"sources": [{kind: fields}]})


DENIED: dict[Deny, list[Manifest]] = {
    Deny.HOST_NAMESPACES: [
        *(pod(**{name: True}) for name in ("hostNetwork", "hostPID", "hostIPC")),
        trainer(ports=[{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]),
    ],
    Deny.PROBE_HOSTS: [
        made
        for action in ({"httpGet": {"host": AWAY, "port": 80}}, {"tcpSocket": {"host": AWAY, "port": 80}})
        for made in (
            *in_any(livenessProbe=action),
            *in_any(readinessProbe=action),
            *in_any(startupProbe=action),
            *in_any(lifecycle={"postStart": action}),
            *in_any(lifecycle={"preStop": action}),
        )
    ],
    Deny.HOST_PATH: [
        volume(hostPath={"path": "/"}),
        volume(flexVolume={"driver": "a/b"}),
        volume(gitRepo={"repository": "https://example.com/x"}),
    ],
    Deny.PRIVILEGED: [
        *restricted(privileged=True),
        *restricted(windowsOptions={"hostProcess": True}),
        pod(securityContext={"windowsOptions": {"hostProcess": True}}),
    ],
    Deny.CAPABILITIES: [
        *restricted(capabilities={"add": ["SYS_ADMIN"]}),
        *restricted(capabilities={"add": ["SYS_ADMIN"], "drop": ["ALL"]}),
        *restricted(capabilities={"drop": []}),
        *restricted(capabilities={"drop": ["NET_RAW"]}),
    ],
    Deny.ROOT_USER: [
        *restricted(runAsUser=0),
        *restricted(runAsNonRoot=False),
        pod(securityContext={"runAsUser": 0}),
        pod(securityContext={"runAsNonRoot": False}),
    ],
    Deny.PRIVILEGE_ESCALATION: restricted(allowPrivilegeEscalation=True),
    Deny.UNCONFINED: [
        *restricted(seccompProfile={"type": "Unconfined"}),
        *restricted(appArmorProfile={"type": "Unconfined"}),
        *restricted(procMount="Unmasked"),
        *restricted(seLinuxOptions={"type": "spc_t"}),
        *restricted(seLinuxOptions={"type": "container_t", "user": "system_u"}),
        *restricted(seLinuxOptions={"role": "system_r"}),
        *(pod(securityContext={"seLinuxOptions": {name: "sysadm"}}) for name in ("type", "user", "role")),
        pod(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        pod(securityContext={"appArmorProfile": {"type": "Unconfined"}}),
        pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
        {
            "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/trainer": "unconfined"}},
            "spec": {},
        },
    ],
    Deny.SERVICE_ACCOUNT: [
        pod(serviceAccountName="cluster-admin"),
        pod(automountServiceAccountToken=True),
        pod(serviceAccountName="default", automountServiceAccountToken=True),
        projected("serviceAccountToken", path="token"),
        projected("podCertificate", signerName="a/b", keyType="ED25519"),
    ],
    Deny.ATTEMPT_KEYS: [
        volume(secret={"secretName": KEY}),
        volume(azureFile={"secretName": KEY, "shareName": "a"}),
        volume(csi={"driver": "a.b", "nodePublishSecretRef": {"name": KEY}}),
        volume(cephfs={"monitors": ["a"], "secretRef": {"name": KEY}}),
        volume(cinder={"volumeID": "a", "secretRef": {"name": KEY}}),
        volume(iscsi={"targetPortal": "a", "iqn": "a", "lun": 0, "secretRef": {"name": KEY}}),
        volume(rbd={"monitors": ["a"], "image": "a", "secretRef": {"name": KEY}}),
        volume(scaleIO={"gateway": "a", "system": "a", "secretRef": {"name": KEY}}),
        volume(storageos={"volumeName": "a", "secretRef": {"name": KEY}}),
        projected("secret", name=KEY),
        pod(imagePullSecrets=[{"name": "registry"}, {"name": KEY}]),
        *in_any(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": KEY, "key": "key"}}}]),
        *in_any(envFrom=[{"secretRef": {"name": KEY}}]),
    ],
    Deny.RESERVED_ENV: [
        trainer(env=[{"name": "THUNDERHEAD_UID", "value": "another"}]),
        trainer(env=[{"name": "THUNDERHEAD_NEW", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]),
        pod(initContainers=[{"name": "a", "image": "a", "env": [{"name": "THUNDERHEAD_JOB", "value": "x"}]}]),
        *(
            trainer(envFrom=[{"prefix": p, "configMapRef": {"name": "a"}}])
            for p in ("THUNDERHEAD_", "T", "THUNDERHEAD_U")
        ),
    ],
}
ALLOWED: list[Manifest] = [
    {},
    {"metadata": {"labels": {"a": "b"}, "annotations": {"a": "unconfined"}}},
    pod(tolerations=[{"key": "gpu", "operator": "Exists"}], nodeSelector={"gpu": "h200"}),
    pod(hostNetwork=False, hostPID=False, hostIPC=False, automountServiceAccountToken=False),
    pod(serviceAccountName="default"),
    pod(serviceAccountName=""),
    volume(persistentVolumeClaim={"claimName": "data"}),
    volume(emptyDir={}),
    *(volume(secret={"secretName": name}) for name in ("data", "a-1-01234567-key-b", "a-key", "a-b-01234567-key")),
    *in_any(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "ssh-key", "key": "key"}}}]),
    pod(imagePullSecrets=[{"name": "registry"}]),
    volume(projected={"sources": [{"configMap": {"name": "a"}}]}),
    *restricted(privileged=False, allowPrivilegeEscalation=False, runAsUser=1000, runAsNonRoot=True),
    *restricted(
        capabilities={"drop": ["ALL"], "add": []}, seccompProfile={"type": "RuntimeDefault"}, procMount="Default"
    ),
    *(
        restricted(seLinuxOptions={"type": name, "level": "s0:c1,c2"})[0]
        for name in ("container_t", "container_init_t", "container_kvm_t", "container_engine_t")
    ),
    *restricted(capabilities={}),
    *restricted(capabilities={"drop": ["NET_RAW", "ALL"]}),
    *restricted(seLinuxOptions={"type": "", "user": "", "role": ""}),
    pod(securityContext={"seLinuxOptions": {"type": "container_t", "level": "s0:c1,c2"}}),
    pod(securityContext={"runAsUser": 1000, "fsGroup": 0, "sysctls": []}),
    trainer(env=[{"name": "THUNDERHEAD_COMPAT", "value": "1"}, {"name": "MY_THUNDERHEAD_X", "value": ""}]),
    trainer(envFrom=[{"configMapRef": {"name": "a"}}, {"prefix": "MY_", "secretRef": {"name": "b"}}, {"prefix": ""}]),
    trainer(ports=[{"containerPort": 80, "protocol": "TCP"}]),
    *in_any(
        livenessProbe={"httpGet": {"host": "", "port": 80}},
        readinessProbe={"tcpSocket": {"port": 80}},
        startupProbe={"grpc": {"port": 80}},
        lifecycle={"postStart": {"exec": {"command": ["true"]}}, "preStop": {"httpGet": {"port": 80}}},
    ),
]
CASES = [(rule, template) for rule, templates in DENIED.items() for template in templates]
