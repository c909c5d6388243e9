"""A configuration file of ``LightningCLI``, read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from thunderhead_api.spec import Command
from thunderhead_cli.jobfile import JobFileError, documents_of

_COMMANDS: Final = tuple(command.value for command in Command)


def read_config(path: Path) -> tuple[Command, dict[str, Any]]:
    """What is to be done, and the configuration.

    A file may be of one subcommand, as runs save it, or hold one under its name.

    Raises:
        UnreadableJobFile: no such file, or none that can be read.
        JobFileError: it is no configuration.
    """
    documents = documents_of(path, "the path of a configuration")
    if len(documents) != 1:
        raise JobFileError(f"{path}: holds {len(documents)} documents; a configuration is one")
    found = dict(documents[0])
    if "kind" in found and "apiVersion" in found:
        raise JobFileError(f"{path}: holds a {found['kind']}, and no configuration; use thunderhead job to-config -f")
    inside = [name for name in _COMMANDS if isinstance(found.get(name), Mapping)]
    if len(inside) > 1:
        raise JobFileError(f"{path}: holds {' and '.join(inside)}, but a job does one thing; keep one of them")
    if inside:
        nested = dict(found.pop(inside[0]))
        # What stands beside it belongs to the whole command line; config is what jsonargparse itself writes.
        return Command(inside[0]), {**found, **nested}
    return Command.FIT, found
