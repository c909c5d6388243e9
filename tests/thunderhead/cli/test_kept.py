"""What a command line's run keeps: its configuration, and hyperparameters from which the module can be built again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cli_parts
import pytest
import torch
import yaml
from cli_parts import QUIET, CliData, CliModel, Encoder, OtherModel, WideEncoder

import thunderhead as th
from thunderhead.cli import LightningCLI, SaveConfigCallback
from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers import CSVLogger

OPEN: dict[str, Any] = {"model_class": None, "datamodule_class": None}
ARGS = ["--model.encoder=cli_parts.WideEncoder", "--model.encoder.width=7", "--model.lr=0.5"]
KEPT = {"class_path": "cli_parts.WideEncoder", "init_args": {"width": 7, "depth": 1}}


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py"])


def fitted(args: list[str], **kwargs: Any) -> LightningCLI:
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": ".", "version": 0}}
    given = {"trainer_defaults": {**QUIET, "logger": logger}, **kwargs}
    return LightningCLI(**{"model_class": CliModel, "datamodule_class": CliData, **given}, args=["fit", *args])


@pytest.mark.filterwarnings("ignore:.*holds metrics of an earlier run")
def test_the_configuration_lies_beside_the_logs_and_gives_the_same_run(tmp_path: Path) -> None:
    first = fitted(ARGS)
    path = tmp_path / "lightning_logs/version_0/config.yaml"
    assert yaml.safe_load(path.read_text())["model"] == {"encoder": KEPT, "lr": 0.5, "size": 3}
    again = fitted([f"--config={path}"], save_config_kwargs={"overwrite": True})
    for one, other in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore:.*holds metrics of an earlier run")
def test_a_configuration_is_not_overwritten() -> None:
    fitted(ARGS)
    with pytest.raises(RuntimeError, match=r"does not overwrite .*version_0/config.yaml.*\{'overwrite': True\}"):
        fitted(ARGS)
    fitted(ARGS, save_config_callback=None)
    fitted(ARGS, save_config_kwargs={"config_filename": "other.yaml"})
    fitted([*ARGS, "--trainer.fast_dev_run=1"])


def test_parts_in_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "part.yaml").write_text("lr: 0.25\n")
    fitted(["--model=part.yaml"], save_config_kwargs={"multifile": True})
    directory = tmp_path / "lightning_logs/version_0"
    assert yaml.safe_load((directory / "config.yaml").read_text())["model"] == "part.yaml"
    assert yaml.safe_load((directory / "part.yaml").read_text())["lr"] == 0.25


class Elsewhere(SaveConfigCallback):
    """Keeps it in the logger."""

    def save_config(self, trainer: th.Trainer, pl_module: th.LightningModule, stage: str) -> None:
        trainer.logger.log_hyperparams({"config": self.parser.dump(self.config, skip_none=False)})


def test_a_configuration_kept_elsewhere(tmp_path: Path) -> None:
    cli = fitted(ARGS, save_config_callback=Elsewhere, save_config_kwargs={"save_to_log_dir": False})
    assert isinstance(cli.trainer.logger, CSVLogger)
    directory = tmp_path / "lightning_logs/version_0"
    assert not (directory / "config.yaml").exists()
    assert "WideEncoder" in yaml.safe_load((directory / "hparams.yaml").read_text())["config"]
    with pytest.raises(MisconfigurationException, match="saves nothing; override save_config"):
        fitted(ARGS, save_config_kwargs={"save_to_log_dir": False})


def saved(cli: LightningCLI, name: str = "x.ckpt") -> dict[str, Any]:
    cli.trainer.save_checkpoint(name)
    found: dict[str, Any] = torch.load(name)
    return found


@pytest.mark.parametrize(("kwargs", "args"), [({}, []), (OPEN, ["--model=cli_parts.OtherModel", "--data=CliData"])])
def test_a_module_is_built_again_from_its_checkpoint(kwargs: dict[str, Any], args: list[str]) -> None:
    cli = fitted([*args, *ARGS], **kwargs)
    content = saved(cli)
    hparams = dict(content["hyper_parameters"])
    assert hparams.pop("_instantiator") == "lightning.pytorch.cli.instantiate_module", "which Lightning knows too"
    assert hparams.pop("_class_path", None) == ("cli_parts.OtherModel" if args else None)
    assert (hparams["encoder"], hparams["lr"]) == (KEPT, 0.5)
    for kind in (CliModel, th.LightningModule) if args else (CliModel,):
        module = kind.load_from_checkpoint("x.ckpt")
        assert (type(module), type(module.encoder)) == (OtherModel if args else CliModel, WideEncoder)
        assert torch.equal(module.head.weight, cli.model.head.weight)
        assert module.hparams["encoder"] == KEPT, "so that its own checkpoints can be loaded"
    assert CliModel.load_from_checkpoint("x.ckpt", lr=0.125).lr == 0.125
    data = CliData.load_from_checkpoint("x.ckpt")
    assert (data.samples, data.batch_size) == (8, 2)


def test_without_support_for_it_objects_are_kept() -> None:
    with pytest.warns(UserWarning, match=r"hyperparameters \['encoder'\] of CliModel are modules"):
        cli = fitted(ARGS, load_from_checkpoint_support=False)
    assert isinstance(cli.model.hparams["encoder"], WideEncoder)
    assert "_instantiator" not in cli.model.hparams


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"_instantiator": "os.system"}, r"the function 'os.system'.*only lightning.pytorch.cli.instantiate_module"),
        ({"_class_path": "never.Model"}, r"the class 'never.Model', which is no class that is imported"),
        ({"_class_path": "cli_parts.Encoder"}, r"'cli_parts.Encoder', which derives from no CliModel"),
        ({"encoder": {"class_path": "never.Encoder"}}, r"name 'never.Encoder', and a checkpoint imports nothing"),
    ],
)
def test_a_checkpoint_imports_nothing(
    changed: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "never.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    content = saved(fitted(ARGS))
    content["hyper_parameters"].update(changed)
    torch.save(content, "changed.ckpt")
    with pytest.raises(MisconfigurationException, match=said):
        CliModel.load_from_checkpoint("changed.ckpt")


def test_hyperparameters_of_a_file_to_begin_with() -> None:
    saved(fitted(ARGS))
    cli = fitted(["--ckpt_path=x.ckpt", "--trainer.max_epochs=2"], save_config_callback=None)
    assert (type(cli.model.encoder), cli.model.lr) == (WideEncoder, 0.5)
    assert cli.trainer.current_epoch == 2


def test_a_file_whose_hyperparameters_do_not_fit_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    content = saved(fitted(ARGS))
    content["hyper_parameters"]["speed"] = 3
    torch.save(content, "x.ckpt")
    with pytest.raises(SystemExit):
        fitted(["--ckpt_path=x.ckpt"], save_config_callback=None)
    assert "hyperparameters in ckpt_path='x.ckpt' are not what this command line takes" in capsys.readouterr().err


def test_a_part_of_the_same_kind_keeps_its_own_hyperparameters() -> None:
    class Outer(th.LightningModule):
        def __init__(self, inner: th.LightningModule, depth: int = 1) -> None:
            super().__init__()
            self.save_hyperparameters(ignore="inner")
            self.inner = inner

    cli = LightningCLI(
        Outer, run=False, args=["--model.inner=cli_parts.CliModel", "--model.depth=3"], trainer_defaults=QUIET
    )
    assert cli.model.hparams["depth"] == 3
    assert set(cli.model.inner.hparams) == {"encoder", "lr", "size"}
    assert cli.model.inner.hparams["encoder"] is None or isinstance(cli.model.inner.hparams["encoder"], Encoder)


def test_importing_thunderhead_imports_no_command_line() -> None:
    names = [
        "jsonargparse",
        "cProfile",
        "thunderhead.cli",
        "thunderhead.loggers.wandb",
        "thunderhead.profilers.pytorch",
    ]
    code = f"import sys, thunderhead as th; th.Trainer, th.loggers; assert not set({names}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(cli_parts.__file__).parent)
