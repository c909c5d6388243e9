"""Options of every verb on a cluster, and the way from them to its jobs.

Nothing here imports the Kubernetes client before a verb runs: ``--help`` and completion of options need none of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from thunderhead_api.extras import MissingExtra
from thunderhead_api.treaty import ExitCode
from thunderhead_cli.options import WRONG_COMMAND_LINE, WrongOption

if TYPE_CHECKING:
    from thunderhead_client.jobs import Jobs

_CLUSTER = "Cluster"


def complete_jobs(context: typer.Context, incomplete: str) -> list[str]:
    """Names of jobs that begin so; none where no cluster can be asked, for a shell shows no errors."""
    given = {name: context.params.get(name) for name in ("kubeconfig", "context", "namespace")}
    try:
        found = jobs_of(given["kubeconfig"], given["context"], given["namespace"]).list()
    except Exception:  # noqa: BLE001  # whatever it is, there is nothing to offer
        return []
    return [job.name for job in found if job.name.startswith(incomplete)]


def _complete_namespaces(context: typer.Context, incomplete: str) -> list[str]:
    try:
        from thunderhead_client.resources import NAMESPACES

        found = jobs_of(context.params.get("kubeconfig"), context.params.get("context"), None).api.all(NAMESPACES, None)
    except Exception:  # noqa: BLE001  # as for jobs
        return []
    return [name for obj in found if (name := str(obj["metadata"]["name"])).startswith(incomplete)]


def _complete_contexts(context: typer.Context, incomplete: str) -> list[str]:
    try:
        from thunderhead_client.connection import contexts_of

        found = contexts_of(context.params.get("kubeconfig"))
    except Exception:  # noqa: BLE001  # as for jobs
        return []
    return [name for name in found if name.startswith(incomplete)]


Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", metavar="FILE", help="Path of a kubeconfig; KUBECONFIG or ~/.kube/config by default."),
]
Context = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", help="Context in it.", autocompletion=_complete_contexts),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "-n",
        "--namespace",
        metavar="NAME",
        help="Of the job; the context's by default.",
        autocompletion=_complete_namespaces,
    ),
]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="Name of a job.", autocompletion=complete_jobs)]
JobNames = Annotated[list[str], typer.Argument(metavar="JOB...", help="Names of jobs.", autocompletion=complete_jobs)]


def jobs_of(kubeconfig: str | None, context: str | None, namespace: str | None) -> Jobs:
    """The jobs that these options name.

    Raises:
        ClientError: they name no cluster.
        MissingExtra: the client library is not installed.
    """
    from thunderhead_client.jobs import Jobs

    return Jobs.connect(kubeconfig, context, namespace)


@contextmanager
def told() -> Iterator[None]:
    """Errors of the block become a sentence on stderr and an exit code.

    2: the command line names something that is not there. 78: packages are missing. 1: whatever else a cluster refuses.
    """
    try:
        yield
    except MissingExtra as error:
        raise _exit(error, ExitCode.INVALID_CONFIGURATION) from error
    except WrongOption as error:
        raise _exit(error, WRONG_COMMAND_LINE) from error
    except Exception as error:
        from thunderhead_client.errors import ClientError, WrongKubeconfig

        if not isinstance(error, ClientError):
            raise
        raise _exit(error, WRONG_COMMAND_LINE if isinstance(error, WrongKubeconfig) else ExitCode.FAILED) from error


def _exit(error: Exception, code: int) -> typer.Exit:
    typer.echo(str(error), err=True)
    return typer.Exit(int(code))
