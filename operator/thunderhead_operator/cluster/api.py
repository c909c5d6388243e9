"""What the operator needs of a cluster: JSON objects in, JSON objects out, errors of :mod:`.errors`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from thunderhead_operator.plan.kinds import Children, Kind
from thunderhead_operator.plan.objects import Manifest, Obj


class ClusterApi(Protocol):
    """Every read is live (a quorum read): decisions on stale children start pods twice. Every call ends in time."""

    async def get_job(self, namespace: str, name: str) -> Obj:
        """The job as it is now.

        Raises:
            NotFound: there is none of that name.
        """

    async def list_jobs(self, namespace: str | None) -> Sequence[Obj]:
        """All jobs of a namespace, or of all namespaces (None)."""

    async def patch_job_status(self, namespace: str, name: str, patch: Mapping[str, Any], resource_version: str) -> Obj:
        """Merge-patch ``status`` if the job still has this resourceVersion.

        Raises:
            Conflict: it has changed.
            NotFound: it is gone.
        """

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """Delete this very job; its children follow in the background.

        Raises:
            Conflict: another object has the name by now.
            NotFound: it is gone.
        """

    async def list_children(self, namespace: str, job: str) -> Children:
        """All that may be read: by their label what attempts have of their own, by its name what a job has one of."""

    async def list_labelled(self, kind: Kind, namespace: str | None) -> Sequence[Obj]:
        """Every object of a kind that bears the job label, of a namespace or of all."""

    async def get_child(self, kind: Kind, namespace: str, name: str) -> Obj:
        """One object.

        Raises:
            NotFound: there is none.
        """

    async def create_child(self, kind: Kind, namespace: str, manifest: Manifest) -> Obj:
        """Create it.

        Raises:
            AlreadyExists: the name is taken.
            Forbidden: quota, admission or rights.
            Invalid: no valid object.
        """

    async def rehearse_child(self, kind: Kind, namespace: str, manifest: Manifest) -> None:
        """Ask whether :meth:`create_child` would succeed; nothing is made.

        Raises:
            AlreadyExists, Forbidden, Invalid: as there.
        """

    async def replace_child(self, kind: Kind, namespace: str, name: str, manifest: Manifest) -> Obj:
        """Replace one object, if its resourceVersion is still the one in ``manifest``.

        Raises:
            Conflict: it has changed.
            NotFound: it is gone.
            Forbidden, Invalid: as for :meth:`create_child`.
        """

    async def delete_child(self, kind: Kind, namespace: str, name: str, uid: str, grace_s: int | None) -> None:
        """Delete this very object. ``grace_s`` None: its own grace period; 0: at once, whatever its node does.

        Raises:
            Conflict: another object has the name by now.
            NotFound: it is gone.
        """

    async def post_event(self, namespace: str, event: Manifest) -> None:
        """Create an ``events.k8s.io/v1`` Event."""

    async def get_lease(self, namespace: str, name: str) -> Obj:
        """One Lease.

        Raises:
            NotFound: there is none.
        """

    async def create_lease(self, namespace: str, lease: Manifest) -> Obj:
        """Create it.

        Raises:
            AlreadyExists: somebody was faster.
        """

    async def replace_lease(self, namespace: str, name: str, lease: Manifest) -> Obj:
        """Replace it, if its resourceVersion is still the one in ``lease``.

        Raises:
            Conflict: it has changed.
        """
