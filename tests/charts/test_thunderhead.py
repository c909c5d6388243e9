"""The chart: valid objects for every way to install it, restricted pods, exactly the rights the operator uses."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import HelmError

from thunderhead_api.schema import crd
from thunderhead_api.treaty import AGENT_PORT
from thunderhead_operator.__main__ import parser
from thunderhead_operator.cluster.client import KubernetesCluster, resource_of
from thunderhead_operator.control.resync import watched
from thunderhead_operator.plan.kinds import TRAITS, Kind, of_attempts

ROOT = Path(__file__).parents[2]
KUBERNETES = ("1.36", "1.37")
DIGEST = "sha256:" + "a" * 64

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

MATRIX: dict[str, Manifest] = {
    "default": {},
    "namespaced": {"rbac": {"scope": "namespaced"}},
    "two namespaces": {"rbac": {"scope": "namespaced"}, "watchNamespaces": ["team-a", "team-b"]},
    "everything": {
        "fullnameOverride": "trainer",
        "image": {"repository": "registry.example/operator", "digest": DIGEST, "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "runtimeImage": {
            "repository": "registry.example/runtime", "tag": "2",
            "pullPolicy": "Always", "pullSecrets": [{"name": "pull"}],
        },
        "serviceAccount": {"name": "robot", "annotations": {"example.com/role": "arn"}},
        "metrics": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prom"}},
            "podMonitor": {"enabled": True, "labels": {"release": "prom"}},
        },
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"role": "infra"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "ml"},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
        "networkPolicy": {"agentPeers": [], "operator": {"enabled": True, "apiServerPorts": [6443]}},
        "commonLabels": {"cost-center": "ml"},
        "podDisruptionBudget": {"enabled": True, "maxUnavailable": "50%"},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "envFrom": [{"configMapRef": {"name": "proxy"}}],
        "api": {"qps": 50, "burst": 200},
        "workers": 16,
    },
    "bare": {
        "crds": {"enabled": False},
        "rbac": {"create": False},
        "serviceAccount": {"create": False, "name": "mine"},
        "metrics": {"service": {"enabled": False}},
    },
}  # fmt: skip
SERVED_BY_OTHERS = {"ServiceMonitor", "PodMonitor"}


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def deployment(manifests: list[Manifest]) -> Manifest:
    (found,) = of_kind(manifests, "Deployment")
    return found


def arguments(manifests: list[Manifest]) -> list[str]:
    (container,) = deployment(manifests)["spec"]["template"]["spec"]["containers"]
    found: list[str] = container["args"]
    return found


def test_helm_lint_is_content(lint_messages: list[str]) -> None:
    assert lint_messages == []


@pytest.mark.parametrize(
    ("case", "kubernetes"), [*((case, KUBERNETES[0]) for case in MATRIX), ("everything", KUBERNETES[1])]
)
def test_objects_are_valid(case: str, kubernetes: str, render: Render) -> None:
    manifests = render(MATRIX[case], monitored=True)
    for manifest in manifests:
        if manifest["kind"] in SERVED_BY_OTHERS:
            assert manifest["apiVersion"] == "monitoring.coreos.com/v1"
        else:
            kubernetes_validate.validate(manifest, kubernetes, strict=manifest["kind"] != "CustomResourceDefinition")
    names = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    assert len(names) == len(set(names))


def test_a_misspelt_pod_field_would_be_found(render: Render) -> None:
    """The check above can fail."""
    broken = copy.deepcopy(deployment(render({})))
    broken["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagee"):
        kubernetes_validate.validate(broken, KUBERNETES[0], strict=True)


@pytest.mark.parametrize("which", ["Deployment", "Pod"])
@pytest.mark.parametrize("case", MATRIX)
def test_pods_are_restricted(case: str, which: str, render: Render) -> None:
    """Pod Security Standards, profile restricted, and a root file system that cannot be written; `helm test` too."""
    manifests = render(MATRIX[case])
    if which == "Deployment":
        pod = deployment(manifests)["spec"]["template"]["spec"]
    elif of_kind(manifests, "Pod"):
        (pod,) = (test["spec"] for test in of_kind(manifests, "Pod"))
    else:
        assert case == "bare", "no Service, so nothing that a test could ask"
        return
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "hostUsers"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    assert all(volume.keys() - {"name"} <= allowed for volume in pod.get("volumes", []))
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPort" in port for port in container.get("ports", []))


Rights = dict[tuple[str, str], set[str]]


class Recorder(KubernetesCluster):
    """The operator's client with the rights that its calls need in the place of a network."""

    def __init__(self) -> None:
        self.needed: Rights = {}

    async def _exchange(
        self, verb: str, resource: tuple[str, str], namespace: str | None, name: str | None = None, **more: Any
    ) -> Any:
        prefix, plural = resource
        group = prefix.removeprefix("/apis/").partition("/")[0] if prefix.startswith("/apis/") else ""
        words = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
        right = words.get(verb) or ("get" if name else "list")
        sub = f"/{more['sub']}" if more.get("sub") else ""
        self.needed.setdefault((group, plural + sub), set()).add(right)
        return {}, 0


async def rights_in_use() -> Rights:
    """What every call of the client and every watch of the shell needs."""
    client = Recorder()
    await client.get_job("n", "j")
    await client.list_jobs(None)
    await client.patch_job_status("n", "j", {}, "1")
    await client.delete_job("n", "j", "u")
    await client.list_children("n", "j")
    for kind in Kind:
        await client.create_child(kind, "n", {})
        if TRAITS[kind].readable:
            await client.rehearse_child(kind, "n", {})
            await client.list_labelled(kind, None)
            await client.get_child(kind, "n", "c")
        if TRAITS[kind].renewed:
            await client.replace_child(kind, "n", "c", {})
    for kind in of_attempts():  # the others go with their job
        await client.delete_child(kind, "n", "c", "u", None)
    await client.post_event("n", {})
    await client.get_lease("n", "l")
    await client.replace_lease("n", "l", {})
    for kind in watched():
        prefix, plural = resource_of(kind)
        group = prefix.removeprefix("/apis/").partition("/")[0] if prefix.startswith("/apis/") else ""
        client.needed.setdefault((group, plural), set()).update({"list", "watch"})
    return client.needed


def granted(rules: list[Manifest]) -> Rights:
    """What rules grant, by API group and resource."""
    found: Rights = {}
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


AT_HOME = ("coordination.k8s.io", "leases")


async def test_cluster_scope_grants_exactly_what_is_used(render: Render) -> None:
    needed = await rights_in_use()
    manifests = render({"rbac": {"aggregate": False, "userRoles": False}})
    (role,) = of_kind(manifests, "ClusterRole")
    (lease,) = of_kind(manifests, "Role")
    assert granted(lease["rules"]) == {AT_HOME: needed.pop(AT_HOME)}
    assert granted(role["rules"]) == needed
    assert bound_roles(manifests) == {role["metadata"]["name"], lease["metadata"]["name"]}


@pytest.mark.parametrize(
    ("rbac", "roles"),
    [
        ({}, 4),
        ({"aggregate": False}, 4),
        ({"aggregate": False, "userRoles": False}, 1),
        ({"scope": "namespaced"}, 0),
        ({"scope": "namespaced", "aggregate": True}, 3),
        ({"scope": "namespaced", "userRoles": True}, 3),
    ],
    ids=str,
)
def test_cluster_roles_come_with_cluster_scope_or_when_asked_for(
    rbac: dict[str, Any], roles: int, render: Render
) -> None:
    assert len(of_kind(render({"rbac": rbac}), "ClusterRole")) == roles


def test_the_lease_goes_with_the_release(render: Render) -> None:
    manifests = render({})
    (lease,) = of_kind(manifests, "Lease")
    (role,) = (role for role in of_kind(manifests, "Role") if role["metadata"]["name"].endswith("-lease"))
    (deployment,) = of_kind(manifests, "Deployment")
    name = lease["metadata"]["name"]
    assert role["rules"][0]["resourceNames"] == [name]
    assert f"--lease-name={name}" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "spec" not in lease, "an upgrade must not take the lease from its holder"


@pytest.mark.parametrize(
    ("case", "namespaces"), [("namespaced", {"training"}), ("two namespaces", {"team-a", "team-b"})]
)
async def test_namespaced_scope_grants_nothing_elsewhere(case: str, namespaces: set[str], render: Render) -> None:
    needed = await rights_in_use()
    del needed[AT_HOME]
    manifests = render(MATRIX[case] | {"rbac": {"scope": "namespaced", "aggregate": False}})
    assert of_kind(manifests, "ClusterRole", "ClusterRoleBinding") == []
    roles = [role for role in of_kind(manifests, "Role") if not role["metadata"]["name"].endswith("-lease")]
    assert {role["metadata"]["namespace"] for role in roles} == namespaces
    assert all(granted(role["rules"]) == needed for role in roles)
    assert {a.removeprefix("--namespace=") for a in arguments(manifests) if a.startswith("--namespace=")} == namespaces
    assert bound_roles(manifests) == {role["metadata"]["name"] for role in of_kind(manifests, "Role")}


def bound_roles(manifests: list[Manifest]) -> set[str]:
    """Roles bound to the operator's own service account."""
    account = deployment(manifests)["spec"]["template"]["spec"]["serviceAccountName"]
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "training"}
    bindings = of_kind(manifests, "RoleBinding", "ClusterRoleBinding")
    assert all(binding["subjects"] == [subject] for binding in bindings)
    return {binding["roleRef"]["name"] for binding in bindings}


@pytest.mark.parametrize("case", MATRIX)
def test_no_role_reaches_further_than_it_must(case: str, render: Render) -> None:
    for role in of_kind(render(MATRIX[case]), "Role", "ClusterRole"):
        for (group, resource), verbs in granted(role["rules"]).items():
            assert "*" not in {group, resource, *verbs}
            assert resource != "secrets" or verbs == {"create"}
            assert resource not in {"pods/exec", "pods/attach", "pods/portforward", "serviceaccounts/token"}
            assert not verbs & {"escalate", "bind", "impersonate"}


def test_the_clusters_own_roles_reach_jobs(render: Render) -> None:
    read, write = {"get", "list", "watch"}, {"create", "update", "patch", "delete", "deletecollection"}
    roles = {
        label.rpartition("-to-")[2]: granted(role["rules"])
        for role in of_kind(render({}), "ClusterRole")
        for label in role["metadata"]["labels"]
        if label.startswith("rbac.authorization.k8s.io/aggregate-to-")
    }
    assert {name: rights["thunderhead.dev", "trainingjobs"] for name, rights in roles.items()} == {
        "view": read,
        "edit": read | write,
        "admin": read | write,
    }
    assert all(rights["thunderhead.dev", "trainingjobs/status"] == {"get"} for rights in roles.values())


@pytest.mark.parametrize(("keep", "annotations"), [(True, {"helm.sh/resource-policy": "keep"}), (False, None)])
def test_the_definition_is_the_generated_one(keep: bool, annotations: Manifest | None, render: Render) -> None:
    (found,) = of_kind(render({"crds": {"keep": keep}}), "CustomResourceDefinition")
    assert found["metadata"].pop("annotations", None) == annotations
    assert found == crd()


@pytest.mark.parametrize("case", MATRIX)
def test_the_operator_takes_its_arguments(case: str, render: Render) -> None:
    manifests = render(MATRIX[case])
    options = parser().parse_args(arguments(manifests))
    (container,) = deployment(manifests)["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (options.metrics_port, options.health_port) == (ports["metrics"], ports["health"])
    leases = [role for role in of_kind(manifests, "Role") if role["metadata"]["name"].endswith("-lease")]
    assert all([options.lease_name] in [rule.get("resourceNames") for rule in role["rules"]] for role in leases)


def test_only_one_operator_at_a_time(render: Render) -> None:
    spec = deployment(render({}))["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_images(render: Render) -> None:
    default, chosen = render({}), render(MATRIX["everything"])
    version = yaml.safe_load((ROOT / "charts/thunderhead/Chart.yaml").read_text())["appVersion"]
    images = [deployment(each)["spec"]["template"]["spec"]["containers"][0]["image"] for each in (default, chosen)]
    assert images == [f"thunderhead-operator:{version}", f"registry.example/operator@{DIGEST}"]
    assert f"--runtime-image=thunderhead-runtime:{version}" in arguments(default)
    assert "--runtime-image=registry.example/runtime:2" in arguments(chosen)


def test_the_operator_reaches_its_agents(render: Render) -> None:
    """The first peer in every job's NetworkPolicy selects the operator's own pods, wherever it is installed."""
    manifests = render({"networkPolicy": {"agentPeers": []}})
    (peers,) = (yaml.safe_load(a.partition("=")[2]) for a in arguments(manifests) if a.startswith("--agent-peers="))
    labels = deployment(manifests)["spec"]["template"]["metadata"]["labels"]
    assert len(peers) == 1
    assert peers[0]["podSelector"]["matchLabels"].items() <= labels.items()
    assert peers[0]["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "training"}}


def test_monitors_wait_for_the_prometheus_operator(render: Render, notes: Callable[[Manifest], str]) -> None:
    wanted = MATRIX["everything"]
    assert of_kind(render(wanted), *SERVED_BY_OTHERS) == []
    assert "Monitors were asked for" in notes(wanted)
    assert "Monitors" not in notes({})
    assert {m["kind"] for m in of_kind(render(wanted, monitored=True), *SERVED_BY_OTHERS)} == SERVED_BY_OTHERS
    assert of_kind(render({}, monitored=True), *SERVED_BY_OTHERS) == []


def test_monitors_select_what_there_is(render: Render) -> None:
    manifests = render(MATRIX["everything"], monitored=True)
    (service,), (monitor,) = of_kind(manifests, "Service"), of_kind(manifests, "ServiceMonitor")
    selected = monitor["spec"]["selector"]["matchLabels"].items()
    assert selected <= service["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= (
        deployment(manifests)["spec"]["template"]["metadata"]["labels"].items()
    )
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    (agents,) = of_kind(manifests, "PodMonitor")
    assert agents["spec"]["podMetricsEndpoints"][0]["port"] == "agent"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"imagee": {}}, "imagee"),
        ({"image": {"tagg": "x"}}, "tagg"),
        ({"rbac": {"scope": "global"}}, "/rbac/scope"),
        ({"image": {"digest": "abc"}}, "/image/digest"),
        ({"metrics": {"port": 80}}, "/metrics/port"),
        ({"watchNamespaces": ["A"]}, "/watchNamespaces/0"),
        ({"watchNamespaces": ["team-a"]}, "watchNamespaces needs rbac.scope namespaced"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name is needed"),
        ({"metrics": {"port": 8080}}, "must differ"),
        ({"commonLabels": {"helm.sh/chart": "x"}}, "commonLabels: helm.sh/chart is the chart's own label"),
        ({"podDisruptionBudget": {"maxUnavailable": "half"}}, "/podDisruptionBudget/maxUnavailable"),
        ({"api": {"qps": -1}}, "/api/qps"),
        ({"runtimeImage": {"pullPolicy": "Sometimes"}}, "/runtimeImage/pullPolicy"),
    ],
)
def test_wrong_values_are_refused(values: Manifest, said: str, render: Render) -> None:
    with pytest.raises(HelmError, match=said):
        render(values)


def test_what_selects_the_operators_pods_finds_them_and_not_the_test(render: Render) -> None:
    manifests = render(MATRIX["everything"])
    labels = deployment(manifests)["spec"]["template"]["metadata"]["labels"].items()
    (test,) = of_kind(manifests, "Pod")
    selectors = [
        *(budget["spec"]["selector"]["matchLabels"] for budget in of_kind(manifests, "PodDisruptionBudget")),
        *(policy["spec"]["podSelector"]["matchLabels"] for policy in of_kind(manifests, "NetworkPolicy")),
        *(service["spec"]["selector"] for service in of_kind(manifests, "Service")),
        deployment(manifests)["spec"]["selector"]["matchLabels"],
    ]
    assert len(selectors) == 4
    for selector in selectors:
        assert selector.items() <= labels
        assert not selector.items() <= test["metadata"]["labels"].items()


def test_the_operators_network_is_what_it_needs(render: Render) -> None:
    values = {"networkPolicy": {"operator": {"enabled": True, "apiServerPorts": [443]}}, "metrics": {"port": 9191}}
    manifests = render(values)
    (policy,) = of_kind(manifests, "NetworkPolicy")
    ports = {
        direction: {port["port"] for rule in policy["spec"][direction] for port in rule["ports"]}
        for direction in ("ingress", "egress")
    }
    assert ports == {"ingress": {"health", "metrics"}, "egress": {53, 443, AGENT_PORT}}
    names = {port["name"] for port in deployment(manifests)["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert ports["ingress"] == names
    (health,) = (rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == "health")
    assert "from" not in health, "a kubelet is on no list of pods"
    (test,) = of_kind(manifests, "Pod")
    (metrics,) = (rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == "metrics")
    admitted = [peer["podSelector"]["matchLabels"] for peer in metrics["from"]]
    assert any(labels.items() <= test["metadata"]["labels"].items() for labels in admitted)
    assert {"app.kubernetes.io/name": "prometheus"} in admitted


def test_common_labels_are_on_every_object_and_pod(render: Render) -> None:
    manifests = render({"commonLabels": {"cost-center": "12"}})
    labelled = [m for m in manifests if m["kind"] != "CustomResourceDefinition"]
    pods = [deployment(manifests)["spec"]["template"]]
    assert all(thing["metadata"]["labels"]["cost-center"] == "12" for thing in [*labelled, *pods])
    assert "cost-center" not in deployment(manifests)["spec"]["selector"]["matchLabels"], "a selector never changes"


def test_values_of_the_runtime_image_and_of_calls_reach_the_command_line(render: Render) -> None:
    options = parser().parse_args(arguments(render(MATRIX["everything"])))
    assert (options.runtime_pull_policy, options.runtime_pull_secret) == ("Always", ["pull"])
    assert (options.api_qps, options.api_burst, options.workers) == (50.0, 200, 16)
    usual = parser().parse_args(arguments(render({})))
    assert (usual.runtime_pull_policy, usual.runtime_pull_secret, usual.api_qps) == (None, [], 0.0)


def test_a_service_monitor_needs_its_service(render: Render) -> None:
    values = {"metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}}
    with pytest.raises(HelmError, match=r"needs metrics\.service\.enabled"):
        render(values, monitored=True)


def test_global_values_of_an_umbrella_chart_are_taken(render: Render) -> None:
    assert deployment(render({"global": {"anything": 1}}))


def test_every_value_is_explained() -> None:
    generator = load(ROOT / "tools/chart_values.py")
    text = generator.VALUES.read_text()
    unexplained = [value.path for value in generator.chart_values(text) if not value.explanation]
    assert unexplained == []
    assert generator.PAGE.read_text() == generator.page(generator.PAGE.read_text(), text), (
        "run `python tools/chart_values.py`"
    )


def test_the_schema_knows_every_value() -> None:
    folder = ROOT / "charts/thunderhead"
    schema = json.loads((folder / "values.schema.json").read_text())
    assert set(yaml.safe_load((folder / "values.yaml").read_text())) == set(schema["properties"]) - {"global"}


def load(file: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
