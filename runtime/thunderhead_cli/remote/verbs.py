"""The short verbs: ``list``, ``suspend``, ``resume``, ``restart``, ``delete``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from thunderhead_cli.remote.reach import Context, JobNames, Kubeconfig, Namespace, jobs_of, told
from thunderhead_cli.remote.shown import Form, Output, columns, form_of, objects

if TYPE_CHECKING:
    from thunderhead_client.job import Job
    from thunderhead_client.jobs import Jobs

app = typer.Typer()
Wait = Annotated[bool, typer.Option("--wait", help="Return once it is so.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0, metavar="SECONDS", help="Wait no longer than this; then exit code 1."),
]


@app.command("list", short_help="List the jobs of a cluster.")
def list_jobs(
    output: Output = Form.TABLE.value,
    labels: Annotated[
        str, typer.Option("-l", "--selector", metavar="LABELS", help="Only jobs with these labels, as in team=vision.")
    ] = "",
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="Jobs of all namespaces.")] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """List the jobs of a cluster: phase, step, progress, time to go, restarts, goodput, age.

    Exit code: 0, 1 the cluster refuses or does not answer, 2 wrong command line.
    """
    with told():
        form = form_of(output)
        jobs = jobs_of(kubeconfig, context, namespace)
        found = jobs.list(labels=labels, all_namespaces=all_namespaces)
        if form in (Form.TABLE, Form.WIDE):
            typer.echo(_table(found, jobs, wide=form is Form.WIDE, everywhere=all_namespaces), nl=False)
        else:
            typer.echo(objects(found, form, one=False), nl=False)


def _table(found: list[Job], jobs: Jobs, *, wide: bool, everywhere: bool) -> str:
    from thunderhead_cli.remote.rows import table_of

    if not found:
        where = "" if everywhere else f" in namespace {jobs.namespace}"
        typer.echo(f"there are no jobs{where}", err=True)
        return ""
    return columns(*table_of(found, datetime.now(UTC), wide=wide, with_namespace=everywhere))


@app.command(short_help="Stop a job with a checkpoint; its pods go.")
def suspend(
    names: JobNames,
    wait: Wait = False,
    timeout: Timeout = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Have jobs commit a checkpoint and stop; resume goes on from it.

    Exit code: 0, 1 the cluster or the job's state refuses, or it took too long, 2 wrong command line.
    """
    with told():
        jobs = jobs_of(kubeconfig, context, namespace)
        _each(names, jobs.suspend, lambda _: "suspending: it commits a checkpoint, then its pods stop")
        if wait:
            _wait(jobs, names, "suspended", timeout)


@app.command(short_help="Go on with a suspended job.")
def resume(
    names: JobNames,
    wait: Wait = False,
    timeout: Timeout = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Have suspended jobs go on from their newest checkpoint.

    Exit code: 0, 1 the cluster or the job's state refuses, or it took too long, 2 wrong command line.
    """
    with told():
        jobs = jobs_of(kubeconfig, context, namespace)
        _each(names, jobs.resume, lambda _: "resuming from its newest checkpoint")
        if wait:
            _wait(jobs, names, "running", timeout)


@app.command(short_help="End the running attempt after a checkpoint and begin another.")
def restart(
    names: JobNames,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Have jobs commit a checkpoint, end their attempt and begin another, with the code as it is now.

    It costs nothing of the restart budget.
    Exit code: 0, 1 the cluster or the job's state refuses, 2 wrong command line.
    """
    with told():
        jobs = jobs_of(kubeconfig, context, namespace)
        _each(names, jobs.restart, lambda job: _LATER if job.raw["spec"].get("suspend") else _RESTARTING)


_LATER = "is suspended; thunderhead resume begins an attempt with the code as it is by then"
_RESTARTING = "restarting: it commits a checkpoint, then another attempt begins"


@app.command(short_help="Delete a job with its pods; its checkpoints stay.")
def delete(
    names: JobNames,
    wait: Wait = False,
    timeout: Timeout = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Delete jobs with everything made for them. Checkpoints stay where they are, and are told.

    Exit code: 0, 1 the cluster refuses, or it took too long, 2 wrong command line.
    """
    with told():
        jobs = jobs_of(kubeconfig, context, namespace)
        _each(names, jobs.delete, lambda job: f"deleted; its checkpoints stay below {job.checkpoint_prefix}")
        if wait:
            _wait(jobs, names, "gone", timeout)


def _each(names: list[str], do: Callable[[str], Job], said: Callable[[Job], str]) -> None:
    for name in names:
        typer.echo(f"{name}: {said(do(name))}")


def _wait(jobs: Jobs, names: list[str], until: str, timeout: float | None) -> None:
    from thunderhead_client.errors import JobNotFound

    for name in names:
        said = until
        try:
            job = jobs.wait(name, until, timeout_s=timeout)
        except JobNotFound:
            if until != "gone":
                raise
        else:
            said = job.phase if job.is_finished else until
        typer.echo(f"{name}: {said}")
