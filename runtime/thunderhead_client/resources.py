"""Where the API server keeps each kind of object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from thunderhead_api.treaty import GROUP, KIND, PLURAL, VERSION


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object.

    Attributes:
        prefix: of its paths.
        plural: its name in paths.
        kind: its name for people.
    """

    prefix: str
    plural: str
    kind: str

    def path(self, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
        """Path of the collection, of one object, or of one of its subresources, with ``{namespace}`` and ``{name}``."""
        parts = [self.prefix, *(("namespaces", "{namespace}") if namespace else ()), self.plural]
        return "/".join([*parts, *(("{name}",) if name else ()), *((sub,) if sub else ())])


JOBS: Final = Resource(f"/apis/{GROUP}/{VERSION}", PLURAL, KIND)
PODS: Final = Resource("/api/v1", "pods", "Pod")
CONFIG_MAPS: Final = Resource("/api/v1", "configmaps", "ConfigMap")
SECRETS: Final = Resource("/api/v1", "secrets", "Secret")
EVENTS: Final = Resource("/apis/events.k8s.io/v1", "events", "Event")
NAMESPACES: Final = Resource("/api/v1", "namespaces", "Namespace")
DEPLOYMENTS: Final = Resource("/apis/apps/v1", "deployments", "Deployment")
LEASES: Final = Resource("/apis/coordination.k8s.io/v1", "leases", "Lease")
CRDS: Final = Resource("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition")
REVIEWS: Final = Resource("/apis/authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview")
