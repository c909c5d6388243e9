"""One side of the comparison of configurations, in a process of its own: reads cases from stdin, prints what it makes.

jsonargparse's settings are those of the process, and each side sets its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import yaml

from bench.parity.configured_parts import SOURCE

# Their own kinds on each side; which of them are there is no matter of a configuration.
_BY_DEFAULT = (
    "LineProgress",
    "ModelCheckpoint",
    "ModelSummary",
    "RichModelSummary",
    "RichProgressBar",
    "TQDMProgressBar",
)
_OF_TRAINER = (
    "max_epochs", "min_epochs", "max_steps", "limit_train_batches", "limit_val_batches", "accumulate_grad_batches",
    "gradient_clip_val", "gradient_clip_algorithm", "precision", "log_every_n_steps", "check_val_every_n_epoch",
    "num_devices", "overfit_batches", "fast_dev_run", "reload_dataloaders_every_n_epochs",
)  # fmt: skip


def main(package: str) -> None:
    """Answer every case in a line of JSON."""
    Path("parts.py").write_text(SOURCE.format(package=package))
    sys.path.insert(0, "")
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        case = json.loads(line.replace("PACKAGE", package))
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            answer = _answer(case)
        answer["said"] = said.getvalue()[-1500:]
        print(json.dumps(answer, default=str).replace(package, "PACKAGE"), flush=True)


def _answer(case: dict[str, Any]) -> dict[str, Any]:
    import parts  # written by this process

    for name, text in case["files"].items():
        Path(name).write_text(text)
    for name in [name for name in os.environ if name.startswith("PL_")]:
        del os.environ[name]
    os.environ.update(case["env"])
    sys.argv = ["script.py", *case["args"]]
    options = dict(case["options"])
    for name in ("model_class", "datamodule_class"):
        if options.get(name):
            options[name] = getattr(parts, options[name])
    try:
        cli = getattr(parts, case["cli"])(save_config_callback=None, **options)
        return {"config": _config(cli), "made": _made(cli)}
    except SystemExit as error:
        return {"refused": f"exit {error.code}"}
    except Exception as error:  # noqa: BLE001  # a refusal, whatever its kind
        return {"refused": type(error).__name__, "why": str(error)[:500]}


def _config(cli: Any) -> object:
    """What was read, as plain data, links included."""
    found = yaml.safe_load(cli.parser.dump(cli.config, skip_link_targets=False, skip_none=False, format="yaml"))
    return found[cli.subcommand] if cli.subcommand else found


def _made(cli: Any) -> dict[str, Any]:
    trainer = cli.trainer
    optimizers = cli.model.configure_optimizers() if _configures(cli.model) else None
    return {
        "model": type(cli.model).__name__,
        "hparams": {name: str(value) for name, value in sorted(cli.model.hparams.items()) if name != "_instantiator"},
        "given": str(getattr(cli.model, "given", None)),
        "encoder": _encoder(cli.model),
        "data": None if cli.datamodule is None else [type(cli.datamodule).__name__, _plain(vars(cli.datamodule))],
        "trainer": {name: _value(getattr(trainer, name, "?")) for name in _OF_TRAINER},
        "callbacks": sorted({type(callback).__name__ for callback in trainer.callbacks} - {*_BY_DEFAULT}),
        "loggers": [type(logger).__name__ for logger in trainer.loggers],
        "optimizers": re.sub(r"<[\w.]*\.(\w+) object at 0x\w+>", r"\1", str(optimizers)),
        "ran": cli.ran,
    }


def _encoder(model: object) -> object:
    found = getattr(model, "encoder", None)
    return None if found is None else [type(found).__name__, _plain(vars(found)), type(found.activation).__name__]


def _plain(values: dict[str, Any]) -> dict[str, str]:
    return {
        name: str(value)
        for name, value in values.items()
        if name in ("batch_size", "samples", "split", "shrink", "width", "depth", "norm")
    }


def _value(found: object) -> str:
    return str(getattr(found, "value", found))


def _configures(model: object) -> bool:
    return "configure_optimizers" in vars(model) or "configure_optimizers" in vars(type(model))


if __name__ == "__main__":
    main(sys.argv[1])
