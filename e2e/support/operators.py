"""The operator as an administrator sees it: its pods, its processes, its metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prometheus_client.parser import text_string_to_metric_families

from .api import DEPLOYMENTS, PODS, Api, Object
from .hands import Hands, Trigger
from .run import condition
from .waiting import eventually

PROCESS = "thunderhead_operator"
READY_S = 120


class Operators:
    """All replicas of the installed operator."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    def deployment(self) -> Object:
        (found,) = self.api.list(DEPLOYMENTS, self.namespace, labels="app.kubernetes.io/name=thunderhead")
        return found

    def pods(self) -> list[Object]:
        """Those that are not on their way out."""
        found = self.api.list(PODS, self.namespace, labels=pods_label(self.deployment()))
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def nodes(self) -> set[str]:
        return {pod["spec"]["nodeName"] for pod in self.pods()}

    def scale(self, replicas: int) -> None:
        """Sets the number of replicas and waits until that many are ready and no other is left."""
        name = self.deployment()["metadata"]["name"]
        self.api.patch(DEPLOYMENTS, self.namespace, name, {"spec": {"replicas": replicas}})
        eventually(lambda: len(self.pods()) == replicas, f"{replicas} operator pods", timeout_s=READY_S)
        self.wait_ready()

    def wait_ready(self) -> None:
        def is_ready() -> bool:
            deployment = self.deployment()
            wanted, status = deployment["spec"]["replicas"], deployment.get("status", {})
            is_current = status.get("observedGeneration") == deployment["metadata"]["generation"]
            ready = [pod for pod in self.pods() if condition(pod, "Ready")]
            return bool(is_current and status.get("readyReplicas", 0) == wanted == len(ready))

        eventually(is_ready, "the operator is ready", timeout_s=READY_S)

    @contextmanager
    def in_sight(self, hands: Hands) -> Iterator[list[Trigger]]:
        """Triggers that SIGKILL the operator's processes, one for each node that has some."""
        with ExitStack() as stack:
            yield [stack.enter_context(hands.aiming_at(node, PROCESS)) for node in sorted(self.nodes())]

    def renew(self) -> None:
        """Fresh pods, ready: a container killed for the first time is restarted at once, after that ever later."""
        old = self.pods()
        for pod in old:
            self.api.delete(PODS, self.namespace, pod["metadata"]["name"])
        labels = pods_label(self.deployment())
        uids = {pod["metadata"]["uid"] for pod in old}

        def all_gone() -> bool:
            return not uids & {pod["metadata"]["uid"] for pod in self.api.list(PODS, self.namespace, labels=labels)}

        eventually(all_gone, "the end of the operator's old pods", timeout_s=READY_S)
        self.wait_ready()

    def metrics(self, pod: Object) -> dict[str, float]:
        """Every sample of a replica by its name with labels, as Prometheus' own parser reads them."""
        ports = pod["spec"]["containers"][0]["ports"]
        port = next(port["containerPort"] for port in ports if port["name"] == "metrics")
        return samples(self.api.text(PODS.path(self.namespace, f"{pod['metadata']['name']}:{port}", "proxy/metrics")))


def pods_label(deployment: Object) -> str:
    """The selector of a Deployment's pods."""
    return ",".join(f"{name}={value}" for name, value in deployment["spec"]["selector"]["matchLabels"].items())


def samples(text: str) -> dict[str, float]:
    """Samples by name, with their labels as Prometheus writes them."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
