"""A TrainingJob from a configuration of ``LightningCLI``: what it says alike, and what a job cannot say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError

from thunderhead_api.spec import Command
from thunderhead_api.trainer import TrainerSpec
from thunderhead_api.treaty import KIND
from thunderhead_cli.configs import limits

API_VERSION: Final = "thunderhead.dev/v1alpha1"
_ELSEWHERE: Final = {
    "optimizer": "a job has no optimizer; make it an argument of the module, or write it into configure_optimizers",
    "lr_scheduler": "a job has no scheduler; make it an argument of the module, or write it into configure_optimizers",
    "ckpt_path": "a job resumes from its own checkpoints; name another job's manifest as checkpoint.resume",
    "weights_only": "a job reads no .ckpt file",
    "verbose": "a job prints results in its log",
    "return_predictions": "a job returns nothing; write predictions in a callback",
    "trainer.default_root_dir": "files of a job go to its own directory, checkpoints to checkpoint.uri",
}


@dataclass(slots=True)
class Converted:
    """What came of it.

    Attributes:
        made: the job, or the configuration.
        lost: what the other cannot say, a line each: where it stood, the value, why, what to do.
        chosen: what had to be decided, a line each.
    """

    made: dict[str, Any]
    lost: list[str] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)


def job_from(
    config: Mapping[str, Any],
    command: Command,
    *,
    base: Mapping[str, Any] | None,
    name: str,
    classes: Mapping[str, str | None],
) -> Converted:
    """The job that does what the configuration says.

    Args:
        config: of one subcommand.
        command: which.
        base: a job whose other fields are kept; None: a new one.
        name: of a new one.
        classes: class paths of ``model`` and ``data`` where the configuration holds arguments only.

    Raises:
        ValueError: the configuration says of no class what is trained.
    """
    found = Converted(_new(name) if base is None else deepcopy(dict(base)))
    spec: dict[str, Any] = found.made["spec"]
    for part in ("command", "module", "datamodule", "trainer", "seed"):
        spec.pop(part, None)
    said: dict[str, Any] = {} if command is Command.FIT else {"command": command.value}
    said["module"] = _described("model", config.get("model"), classes.get("model"))
    if config.get("data") is not None:
        said["datamodule"] = _described("data", config["data"], classes.get("data"))
    placed = _trainer(config.get("trainer") or {}, found)
    said.update(_seed(config.get("seed_everything", False), found))
    if placed.trainer:
        said["trainer"] = placed.trainer
    found.made["spec"] = {**said, **spec}
    for where, value in placed.size.items():
        if value is not None:
            found.made["spec"][where] = value
    known = ("model", "data", "trainer", "seed_everything", "config", "subcommand")
    for key, value in config.items():
        if key not in known and value is not None:
            why = _ELSEWHERE.get(key, "a job has no such field; give it as an argument of the module or datamodule")
            found.lost.append(_line(key, value, why))
    return found


def _new(name: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {"checkpoint": {"uri": f"s3://checkpoints/{name}"}},
    }


def _described(key: str, given: object, class_path: str | None) -> dict[str, Any]:
    if isinstance(given, str):
        given = {"class_path": given}
    arguments = dict(given) if isinstance(given, Mapping) else {}
    if "class_path" in arguments:
        inside = {**(arguments.get("init_args") or {}), **(arguments.get("dict_kwargs") or {})}
        described = {"class_path": arguments["class_path"], "init_args": inside}
    elif class_path is not None:
        described = {"class_path": class_path, "init_args": arguments}
    else:
        option = "--model" if key == "model" else "--data"
        raise ValueError(
            f"{key}: names no class, as the script's LightningCLI was given one; say which with {option} package.Class"
        )
    if not described["init_args"]:
        del described["init_args"]
    return described


def _seed(given: object, found: Converted) -> dict[str, Any]:
    if given is False or given is None:
        return {}
    if given is True:
        found.chosen.append("seed_everything = true takes the default seed, so spec.seed is 0")
        return {"seed": 0}
    return {"seed": given}


@dataclass(slots=True)
class _Placed:
    trainer: dict[str, Any] = field(default_factory=dict)
    size: dict[str, Any] = field(default_factory=dict)


def _trainer(given: Mapping[str, Any], found: Converted) -> _Placed:
    placed = _Placed()
    for name, value in given.items():
        if value is None:
            continue
        where = f"trainer.{name}"
        if name == "devices":
            _devices(value, placed, found)
        elif name == "num_nodes":
            placed.size["nodes"] = value
        elif name not in TrainerSpec.model_fields:
            why = _ELSEWHERE.get(where, "a job has no such field; leave it out, or set it in the module")
            found.lost.append(_line(where, value, why))
        else:
            _argument(name, _in_words_of_job(name, value), placed, found)
    return placed


def _devices(value: object, placed: _Placed, found: Converted) -> None:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        if value != "auto":
            placed.size["processesPerNode"] = value
        return
    why = "a job counts processes; write spec.processesPerNode, and the accelerators into spec.resources"
    found.lost.append(_line("trainer.devices", value, why))


def _in_words_of_job(name: str, value: object) -> object:
    if name in limits.NAMES:
        return limits.for_job(value)
    if name in ("callbacks", "logger"):
        several = value if isinstance(value, list) else [] if value is False else [value]
        return [_plain_class(each) for each in several] if value is not True else None
    if name == "precision":
        return str(value)
    return _duration(value) if name == "max_time" and isinstance(value, Mapping) else value


def _plain_class(given: object) -> object:
    if isinstance(given, str):
        return {"class_path": given}
    if not isinstance(given, Mapping):
        return given
    inside = {**(given.get("init_args") or {}), **(given.get("dict_kwargs") or {})}
    return {"class_path": given.get("class_path"), **({"init_args": inside} if inside else {})}


def _duration(given: Mapping[str, Any]) -> object:
    """Whole seconds, rounded up; what is no duration stays as it is, for the job's rules to refuse."""
    try:
        seconds = math.ceil(timedelta(**given).total_seconds())
    except TypeError:
        return given
    days, rest = divmod(seconds, 86_400)
    return f"{days:02}:{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"


def _argument(name: str, value: object, placed: _Placed, found: Converted) -> None:
    if value is None:  # logger: true, as it is by default
        return
    try:
        TrainerSpec.model_validate({name: value})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        found.lost.append(_line(f"trainer.{name}", value, f"a job cannot say this: {said[:1].lower()}{said[1:]}"))
        return
    placed.trainer[name] = value


def _line(where: str, value: object, why: str) -> str:
    text = repr(value)
    return f"{where} = {text if len(text) <= 80 else f'{text[:77]}...'}: {why}"
