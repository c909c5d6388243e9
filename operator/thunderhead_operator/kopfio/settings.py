"""kopf's settings, each for a reason: whatever writes to users' objects is off, whatever waits for ever has an end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

import kopf

from thunderhead_api.treaty import GROUP


class _Patience:
    """Waits between tries, without end."""

    def __iter__(self) -> Iterator[float]:
        return chain((0.1, 0.5, 1.0, 2.0), repeat(5.0))


def shell_settings() -> kopf.OperatorSettings:
    """Settings of the one embedded operator."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # our own events, after the status they are about
    settings.peering.standalone = True  # a Lease instead: peering excludes nobody
    settings.scanning.disabled = True  # no rights on CRDs and namespaces; the chart installs the CRD first
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = _Patience()  # of its first questions: an API server may come after us
    settings.process.ultimate_exiting_timeout = 20  # below a pod's grace period of 30 s
    # Not used, for no change handler is registered; were one ever added by mistake, it would at least be recognisable.
    settings.persistence.finalizer = f"{GROUP}/operator"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"operator.{GROUP}")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"operator.{GROUP}")
    return settings
