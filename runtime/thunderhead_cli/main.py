"""The ``thunderhead`` command, also installed as the kubectl plugin ``kubectl thunderhead``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Annotated, Any

import typer

from thunderhead_api.extras import MissingExtra
from thunderhead_api.treaty import ExitCode
from thunderhead_api.walk import did_you_mean
from thunderhead_cli.configs.job_command import app as configs
from thunderhead_cli.jobfile import JobFile, JobFileError, UnreadableJobFile, problems_of, read_job_file
from thunderhead_cli.local.logs import Logs
from thunderhead_cli.options import WRONG_COMMAND_LINE, WrongOption
from thunderhead_cli.remote.verbs import app as on_cluster

app = typer.Typer(
    name="thunderhead",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(configs, name="job")
app.add_typer(on_cluster)

FileOption = Annotated[
    Path, typer.Option("-f", "--file", metavar="FILE", help="The job: YAML or JSON with one TrainingJob.")
]


def main() -> None:
    """Entry point of both commands, each of which calls itself as it was called."""
    command_line(sys.argv[0])()


def command_line(called_as: str) -> Callable[[], Any]:
    """The command to run for a program of this name: kubectl finds its plugin by a dash and calls it with a space."""
    command = typer.main.get_command(app)
    if not Path(called_as).name.startswith("kubectl-"):
        return partial(command, prog_name="thunderhead")
    # The shell completes words for kubectl, not for its plugins.
    command.params = [parameter for parameter in command.params if "completion" not in str(parameter.name)]
    command.help = (command.help or "").replace("thunderhead run", "kubectl thunderhead run")
    return partial(command, prog_name="kubectl thunderhead")


def _logs(word: str) -> Logs:
    # Not left to typer, whose message for an enumeration begins with another library's words.
    if word not in list(Logs):
        hint = did_you_mean(word, [logs.value for logs in Logs])
        raise typer.BadParameter(f"{word!r} is none of {', '.join(Logs)}" + (f"; {hint}" if hint else ""))
    return Logs(word)


def _say_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


@app.callback(epilog="Every option, exit code and environment variable: docs/reference/command.md")
def thunderhead(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """PyTorch training on Kubernetes with recovery owned end to end.

    Begin with: thunderhead run -f job.yaml
    """


@app.command(short_help="Run a job file on this machine.")
def run(
    file: FileOption,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin a new run even if the newest one has not finished.")
    ] = False,
    kill_pod: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE@WHEN", help="Kill a pod on purpose: 1@50% at half of the run, 1@200 at step 200."),
    ] = None,
    checkpoint_uri: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Where checkpoints go instead of the run's directory; 'job' keeps the URI of the file.",
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Directory of all runs.")] = Path("runs"),
    logs: Annotated[
        Logs,
        typer.Option(
            parser=_logs,
            metavar=f"[{'|'.join(Logs)}]",
            autocompletion=lambda: list(Logs),
            help="Whose output is shown while the job runs.",
        ),
    ] = Logs.RANK0,
    progress_seconds: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Between two progress lines where there is no terminal.")
    ] = 5.0,
) -> None:
    """Run a job file on this machine, without a cluster: pods become processes.

    Ctrl-C stops with a checkpoint, a second one kills; the same command again continues a run that has not finished.
    Exit code: 0 complete, 1 failed, 2 wrong command line, 75 stopped, 77 storage refused, 78 invalid configuration,
    130 killed.
    """
    from thunderhead_cli.local.command import Options
    from thunderhead_cli.local.command import run as run_locally
    from thunderhead_cli.local.rundir import RunDirError

    job = valid_job(file)
    options = Options(
        runs=runs,
        fresh=fresh,
        checkpoint_uri=checkpoint_uri,
        kills=kill_pod or [],
        progress_seconds=progress_seconds,
        logs=logs,
    )
    try:
        code = run_locally(job, options)
    except WrongOption as error:
        raise refuse(str(error), WRONG_COMMAND_LINE) from error
    except (ValueError, MissingExtra) as error:
        raise refuse(str(error)) from error
    except RunDirError as error:
        raise refuse(str(error), ExitCode.FAILED) from error
    raise typer.Exit(code)


@app.command(short_help="Try parameters of a job file, here or on a cluster.")
def sweep(
    file: Annotated[Path, typer.Option("-f", "--file", metavar="FILE", help="The sweep: YAML or JSON.")],
    on: Annotated[
        str,
        typer.Option(metavar="[local|cluster]", autocompletion=lambda: ["local", "cluster"], help="Where trials run."),
    ] = "local",
    sweeps: Annotated[Path, typer.Option(metavar="DIR", help="Directory of all sweeps.")] = Path("sweeps"),
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Of the jobs on a cluster; the job file's by default, else kubectl's."),
    ] = None,
    progress_seconds: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Between two progress lines where there is no terminal.")
    ] = 5.0,
) -> None:
    """Run trials of a job file with parameters that Optuna chooses.

    Ctrl-C stops every trial with a checkpoint, a second one kills them; the same command again goes on, each trial from
    its newest checkpoint. A failed trial counts and does not end the sweep.
    Exit code: 0 every trial has ended and one is complete, 1 none is, 2 wrong command line, 75 stopped, 78 invalid
    sweep or job, 130 killed.
    """
    from thunderhead_api.extras import require

    try:
        require("thunderhead sweep", "sweep")
    except MissingExtra as error:
        raise refuse(str(error)) from error
    raise typer.Exit(_sweep(file, on, sweeps, namespace, progress_seconds))


def _sweep(file: Path, on: str, sweeps: Path, namespace: str | None, progress_seconds: float) -> int:
    from thunderhead_cli.local.rundir import RunDirError
    from thunderhead_cli.sweep.file import read_sweep_file
    from thunderhead_cli.sweep.sweeping import Place, SweepOptions
    from thunderhead_cli.sweep.sweeping import sweep as run_sweep

    if on not in list(Place):
        raise refuse(f"--on {on}: is neither local nor cluster", WRONG_COMMAND_LINE)
    options = SweepOptions(place=Place(on), sweeps=sweeps, namespace=namespace, progress_seconds=progress_seconds)
    try:
        return run_sweep(read_sweep_file(file), options)
    except (WrongOption, UnreadableJobFile) as error:
        raise refuse(str(error), WRONG_COMMAND_LINE) from error
    except (ValueError, MissingExtra) as error:
        raise refuse(str(error)) from error
    except RunDirError as error:
        raise refuse(str(error), ExitCode.FAILED) from error


@app.command(short_help="Say what is wrong with a job file.")
def validate(file: FileOption) -> None:
    """Say what the API server would refuse in a job file.

    Exit code 0: nothing. 78: at least one thing, each on a line of its own with path, value, rule and remedy.
    """
    job = valid_job(file)
    typer.echo(f"{file}: TrainingJob {job.job['metadata']['name']!r} is valid")


@app.command(short_help="Print the version.")
def version() -> None:
    """Print the version of this installation."""
    typer.echo(f"thunderhead {distribution_version('thunderhead')}")


@app.command("verify-checkpoints", short_help="Read back every committed checkpoint.")
def verify_checkpoints(
    context: typer.Context,
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="s3://bucket/prefix or file:///path: of a manifest, a job, or several.")
    ],
    endpoint: Annotated[str | None, typer.Option(help="URL of an S3-compatible server.")] = None,
    region: Annotated[str | None, typer.Option(help="S3 region.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read back every committed checkpoint and compare it with its checksums; nothing is written.

    Exit code 0: at least one counts, and all that count are whole. 1: damage, nothing there, or the store refuses.
    78: what reads them is not installed. Credentials come from the environment (AWS_ACCESS_KEY_ID and so on).
    """
    from thunderhead.store.verify import main as verify  # only for those who ask

    words = [uri, *(["--endpoint", endpoint] if endpoint else []), *(["--region", region] if region else [])]
    raise typer.Exit(verify([*words, *(["--json"] if as_json else [])], prog=context.command_path))


def valid_job(path: Path) -> JobFile:
    """The job of ``path``; ends the command with the problems on stderr where there are any."""
    try:
        file = read_job_file(path)
    except UnreadableJobFile as error:
        raise refuse(str(error), WRONG_COMMAND_LINE) from error
    except JobFileError as error:
        raise refuse(str(error)) from error
    problems = problems_of(file)
    if problems:
        raise refuse("\n".join(f"{path}: {problem}" for problem in problems))
    return file


def refuse(message: str, code: int = ExitCode.INVALID_CONFIGURATION) -> typer.Exit:
    """Say on stderr why nothing is done; the value to raise."""
    typer.echo(message, err=True)
    return typer.Exit(int(code))
