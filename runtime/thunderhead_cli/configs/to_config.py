"""A configuration of ``LightningCLI`` from a TrainingJob: what it says alike, and what no configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from thunderhead_api.spec import Command
from thunderhead_cli.configs import limits
from thunderhead_cli.configs.to_job import Converted

_ALIKE: Final = ("command", "module", "datamodule", "trainer", "seed", "nodes", "processesPerNode")


def config_from(job: Mapping[str, Any], *, classes: bool) -> Converted:
    """The configuration that a ``LightningCLI`` needs to do what the job says.

    Args:
        job: valid.
        classes: whether classes of module and datamodule are named, as a command line without classes of its own
            needs it.
    """
    spec: Mapping[str, Any] = job["spec"]
    config: dict[str, Any] = {"seed_everything": spec.get("seed", False)}
    config["trainer"] = _trainer(spec)
    config["model"] = _described(spec["module"], classes=classes)
    if spec.get("datamodule") is not None:
        config["data"] = _described(spec["datamodule"], classes=classes)
    command = spec.get("command", Command.FIT.value)
    found = Converted(config if command == Command.FIT.value else {command: config})
    if not classes:
        named = [spec[part]["class_path"] for part in ("module", "datamodule") if spec.get(part)]
        found.chosen.append(f"the script's LightningCLI names the classes itself: {', '.join(named)}")
    for name, value in {"metadata": job.get("metadata"), **spec}.items():
        if name not in _ALIKE and value not in (None, {}):
            found.lost.append(_line(name, value))
    return found


def _trainer(spec: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in (spec.get("trainer") or {}).items():
        if name == "logger" and value == []:
            found[name] = False
        elif value is not None:
            found[name] = limits.for_config(value) if name in limits.NAMES else value
    if spec.get("processesPerNode", "Auto") != "Auto":
        found["devices"] = spec["processesPerNode"]
    if spec.get("nodes") is not None:
        found["num_nodes"] = spec["nodes"]
    return found


def _described(given: Mapping[str, Any], *, classes: bool) -> dict[str, Any]:
    arguments = dict(given.get("init_args") or {})
    if not classes:
        return arguments
    return {"class_path": given["class_path"], **({"init_args": arguments} if arguments else {})}


def _line(name: str, value: object) -> str:
    where = "metadata" if name == "metadata" else f"spec.{name}"
    text = repr(value)
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return f"{where} = {shown}: of the job alone; give it with thunderhead job from-config --base"
