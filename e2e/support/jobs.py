"""TrainingJobs as the scenarios ask for them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .api import Object

WORKLOADS = Path(__file__).resolve().parents[1] / "workloads"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where jobs of the scenarios live: a namespace, and what is ready in it."""

    namespace: str
    code: str
    """ConfigMap with the workloads' files."""
    bucket: str
    endpoint: str
    """S3 server as pods reach it."""
    region: str
    credentials: str
    """Secret with keys that may read and write the bucket."""
    denied_credentials: str
    """Secret of an account that may not."""


@dataclass(frozen=True, kw_only=True)
class ProbeJob:
    """A job that trains `workloads/probe.py`; the defaults are a small one that ends in seconds.

    Attributes:
        samples: training samples; 4 of them are a batch on one rank, so an epoch has samples / (4 * world size) steps.
        module: further `init_args` of the module.
        spec: laid over the finished spec, mapping by mapping; a value of None removes the key.
    """

    name: str
    nodes: int = 1
    processes: int = 1
    samples: int = 96
    epochs: int = 2
    step_seconds: float = 0.05
    every_steps: int = 10
    faults: Sequence[Mapping[str, Any]] = ()
    module: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.samples // (4 * self.nodes * self.processes) * self.epochs

    def manifest(self, site: Site) -> Object:
        """The TrainingJob as `kubectl apply` would send it."""
        module_args = {"step_seconds": self.step_seconds, "faults": list(self.faults), **self.module}
        spec: Object = {
            "module": {"class_path": "probe.Probe", "init_args": module_args},
            "datamodule": {"class_path": "probe.Points", "init_args": {"samples": self.samples, "batch_size": 4}},
            "trainer": {
                "max_epochs": self.epochs,
                "log_every_n_steps": 5,
                "num_sanity_val_steps": 0,
                "callbacks": [{"class_path": "probe.Losses"}],
            },
            "seed": 11,
            "code": {"configMap": {"name": site.code}},
            "nodes": self.nodes,
            "processesPerNode": self.processes,
            "resources": {"requests": {"cpu": "10m", "memory": "256Mi"}},
            "checkpoint": {
                "uri": f"s3://{site.bucket}/runs",
                "everySteps": self.every_steps,
                "s3": {
                    "endpoint": site.endpoint,
                    "region": site.region,
                    "credentialsSecretName": site.credentials,
                },
            },
            "terminationGracePeriodSeconds": 30,
        }
        return {
            "apiVersion": "thunderhead.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": self.name, "namespace": site.namespace},
            "spec": overlaid(spec, self.spec),
        }


def six_ranks(name: str, *, step_seconds: float = 0.1) -> ProbeJob:
    """The job whose disturbed runs are compared with an undisturbed one: 3 nodes of 2 processes, 48 steps."""
    return ProbeJob(name=name, nodes=3, processes=2, samples=576, step_seconds=step_seconds)


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> Object:
    """`above` laid over `below`, mapping by mapping; None removes a key. Neither is changed."""
    result = copy.deepcopy(dict(below))
    for key, value in above.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = overlaid(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def workload_files() -> dict[str, str]:
    """The files that the jobs' code ConfigMap holds."""
    return {path.name: path.read_text() for path in sorted(WORKLOADS.glob("*.py")) if path.name != "__init__.py"}
