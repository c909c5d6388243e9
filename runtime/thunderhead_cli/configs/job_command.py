"""``thunderhead job``: configurations of ``LightningCLI`` and job files, each from the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from thunderhead_api.treaty import ExitCode
from thunderhead_api.validate import validate
from thunderhead_cli.configs.reading import read_config
from thunderhead_cli.configs.to_config import config_from
from thunderhead_cli.configs.to_job import Converted, job_from
from thunderhead_cli.jobfile import JobFileError, UnreadableJobFile, problems_of, read_job_file
from thunderhead_cli.options import WRONG_COMMAND_LINE

app = typer.Typer(
    name="job",
    help="Job files and configurations of LightningCLI, each from the other.",
    short_help="Job files and configurations, each from the other.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9-]+")


@app.command("from-config", short_help="Write a job file from a configuration.")
def from_config(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration of LightningCLI: YAML or JSON.")],
    base: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A job file whose other fields are kept: checkpoint, code, …")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the job; by default that of the file.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Class of the module, where CONFIG holds arguments only.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Class of the datamodule, where CONFIG holds arguments only.")
    ] = None,
) -> None:
    """Print the job that does what a configuration of LightningCLI says.

    What a job cannot say is told on stderr, a line each. Exit code: 0, 2 wrong command line, 78 invalid configuration.
    """
    try:
        command, found = read_config(config)
        kept = None if base is None else read_job_file(base).job
        chosen = name or _name_of(config)
        made = job_from(found, command, base=kept, name=chosen, classes={"model": model, "data": data})
    except UnreadableJobFile as error:
        raise _refuse(str(error), WRONG_COMMAND_LINE) from error
    except JobFileError as error:
        raise _refuse(str(error)) from error
    except ValueError as error:
        raise _refuse(f"{config}: {error}") from error
    if kept is None:
        made.chosen.append(f"spec.checkpoint.uri is {made.made['spec']['checkpoint']['uri']!r}; write where yours go")
        _name_code(made, config.parent, chosen)
    problems = validate(made.made)
    _tell(config, made, "a job")
    for problem in problems:
        typer.echo(f"{config}: {problem}", err=True)
    typer.echo(_yaml(made.made), nl=False)
    if problems:
        raise typer.Exit(int(ExitCode.INVALID_CONFIGURATION))


@app.command("to-config", short_help="Write a configuration from a job file.")
def to_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The job: YAML or JSON with one TrainingJob.")],
    classes: Annotated[
        bool, typer.Option("--classes/--no-classes", help="Whether classes of module and datamodule are named.")
    ] = True,
) -> None:
    """Print the configuration of LightningCLI that does what a job says.

    What no configuration says is told on stderr, a line each. Exit code: 0, 2 wrong command line, 78 invalid job.
    """
    try:
        job = read_job_file(file)
    except UnreadableJobFile as error:
        raise _refuse(str(error), WRONG_COMMAND_LINE) from error
    except JobFileError as error:
        raise _refuse(str(error)) from error
    problems = problems_of(job)
    if problems:
        raise _refuse("\n".join(f"{file}: {problem}" for problem in problems))
    made = config_from(job.job, classes=classes)
    _tell(file, made, "a configuration")
    typer.echo(_yaml(made.made), nl=False)


def _name_of(config: Path) -> str:
    stem = config.resolve().parent.name if config.stem in ("config", "") else config.stem
    return _NOT_IN_NAMES.sub("-", stem.lower()).strip("-") or "job"


def _name_code(made: Converted, directory: Path, name: str) -> None:
    """Classes that lie beside the configuration are the user's files, which a job brings along."""
    spec = made.made["spec"]
    paths = [spec[part]["class_path"] for part in ("module", "datamodule") if part in spec]
    beside = sorted(
        {f"{path.partition('.')[0]}.py" for path in paths if (directory / f"{path.partition('.')[0]}.py").is_file()}
    )
    if beside:
        spec["code"] = {"configMap": {"name": f"{name}-code"}}
        made.chosen.append(f"spec.code.configMap is {name}-code, for {', '.join(beside)} beside the configuration")


def _tell(path: Path, made: Converted, whose: str) -> None:
    for line in made.chosen:
        typer.echo(f"{path}: {line}", err=True)
    for line in made.lost:
        typer.echo(f"{path}: not in {whose}: {line}", err=True)


def _yaml(value: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=False, allow_unicode=True, width=120)
    return text


def _refuse(message: str, code: int = ExitCode.INVALID_CONFIGURATION) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(int(code))
