"""A command line becomes module, datamodule and Trainer, and runs them."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cli_parts
import pytest
import torch
import yaml
from cli_parts import QUIET, BareModel, CliData, CliModel, Encoder, InjectedModel, OtherModel, WideEncoder
from torch import nn

import thunderhead as th
import thunderhead.fabric.loggers
import thunderhead.fabric.parallelize  # whatever a process has imported, a class's name means one, and help ends
from thunderhead.callbacks import EarlyStopping, ModelCheckpoint
from thunderhead.cli import LightningArgumentParser, LightningCLI, ReduceLROnPlateau
from thunderhead.exceptions import MisconfigurationException


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py"])


def made(args: list[str], **kwargs: Any) -> LightningCLI:
    """Nothing is run."""
    classes = {"model_class": CliModel, "datamodule_class": CliData}
    return LightningCLI(**{**classes, "run": False, "trainer_defaults": QUIET, **kwargs}, args=args)


def ran(args: list[str], **kwargs: Any) -> LightningCLI:
    return made(args, **{"run": True, "save_config_callback": None, **kwargs})


ENCODER = ["--model.encoder=cli_parts.WideEncoder", "--model.encoder.width=7"]
BOTH: dict[str, Any] = {"model_class": None, "datamodule_class": None}
OTHER = ["--model=cli_parts.OtherModel", "--model.words=[a,b]", "--model.lr=0.25"]


@pytest.mark.parametrize(
    ("args", "kwargs", "look", "wanted"),
    [
        (["--model.lr=0.5"], {}, lambda c: c.model.lr, 0.5),
        (["--data.samples", "6"], {}, lambda c: c.datamodule.samples, 6),
        (["--trainer.max_epochs=7"], {}, lambda c: c.trainer.max_epochs, 7),
        ([], {}, lambda c: c.trainer.max_epochs, 1),
        ([], {"trainer_defaults": {**QUIET, "max_epochs": 5}}, lambda c: c.trainer.max_epochs, 5),
        (ENCODER, {}, lambda c: (type(c.model.encoder), c.model.encoder.width), (WideEncoder, 7)),
        (["--model.encoder=WideEncoder"], {}, lambda c: type(c.model.encoder), WideEncoder),
        (["--model.encoder=null"], {}, lambda c: type(c.model.encoder), Encoder),
        (["--model=OtherModel"], {"subclass_mode_model": True}, lambda c: type(c.model), OtherModel),
        (OTHER, BOTH, lambda c: (type(c.model), c.model.words, c.model.lr), (OtherModel, ["a", "b"], 0.25)),
        (["--model=CliModel", "--data=CliData"], BOTH, lambda c: type(c.datamodule), CliData),
        (["--model=CliModel"], BOTH, lambda c: c.datamodule, None),
        (["--trainer.limit_train_batches=0.5"], {}, lambda c: c.trainer.limit_train_batches, 0.5),
        (["--trainer.limit_train_batches=2"], {}, lambda c: c.trainer.limit_train_batches, 2),
        (["--trainer.limit_train_batches=25%"], {}, lambda c: c.trainer.limit_train_batches, 0.25),
        (["--trainer.max_time={hours: 1}"], {}, lambda c: c.trainer.max_time.total_seconds(), 3600),
        (["--trainer.profiler=simple"], {}, lambda c: type(c.trainer.profiler).__name__, "SimpleProfiler"),
        (["--trainer.strategy=ddp", "--trainer.devices=1"], {}, lambda c: c.trainer.strategy.name, "ddp"),
        (["--trainer.precision=64"], {}, lambda c: c.trainer.precision, "64-true"),
        (
            ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=here"],
            {},
            lambda c: c.trainer.logger.save_dir,
            "here",
        ),
    ],
)
def test_what_is_made(args: list[str], kwargs: Any, look: Callable[[LightningCLI], Any], wanted: Any) -> None:
    assert look(made(args, **kwargs)) == wanted


def test_functions_in_the_place_of_classes() -> None:
    def model(lr: float = 0.75) -> CliModel:
        return CliModel(lr=lr)

    def trainer(**kwargs: Any) -> th.Trainer:
        return th.Trainer(**kwargs)

    model.__annotations__["return"] = CliModel
    cli = made(["--model.lr=0.5"], model_class=model)
    assert (type(cli.model), cli.model.lr) == (CliModel, 0.5)


def test_callbacks_are_appended_and_some_are_always_there() -> None:
    args = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val_loss"]
    args += ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.save_top_k=-1"]
    always = th.callbacks.Timer("00:01:00:00")
    cli = made(args, trainer_defaults={**QUIET, "enable_checkpointing": True, "callbacks": always})
    found = {type(callback): callback for callback in cli.trainer.callbacks}
    assert found[EarlyStopping].monitor == "val_loss"
    assert found[ModelCheckpoint].save_top_k == -1
    assert always in cli.trainer.callbacks


def test_files_and_arguments_the_last_wins(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: {lr: 0.5, size: 4}\ntrainer: {max_epochs: 2}\n")
    (tmp_path / "b.yaml").write_text("model: {lr: 0.25}\n")
    cli = made(["-c", "a.yaml", "--config=b.yaml", "--trainer.max_epochs=3"])
    assert (cli.model.lr, cli.model.size, cli.trainer.max_epochs) == (0.25, 4, 3)


def test_a_configuration_in_the_place_of_arguments() -> None:
    cli = ran({"fit": {"model": {"lr": 0.5}, "trainer": {"max_epochs": 2}}})  # type: ignore[arg-type]
    assert (cli.model.lr, cli.trainer.current_epoch) == (0.5, 2)


def test_the_printed_configuration_gives_the_same_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        ran(["fit", *ENCODER, "--optimizer=Adam", "--optimizer.lr=0.125", "--print_config"], model_class=BareModel)
    printed = capsys.readouterr().out
    described = {"class_path": "cli_parts.WideEncoder", "init_args": {"width": 7, "depth": 1}}
    assert yaml.safe_load(printed)["model"]["encoder"] == described
    (tmp_path / "printed.yaml").write_text(printed)
    cli = ran(["fit", "--config=printed.yaml"], model_class=BareModel)
    assert cli.model.encoder.width == 7
    assert (type(cli.trainer.optimizers[0]).__name__, cli.trainer.optimizers[0].param_groups[0]["lr"]) == (
        "Adam",
        0.125,
    )


def test_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "of_env.yaml").write_text("model: {size: 9}\n")
    monkeypatch.setenv("PL_FIT__MODEL__LR", "0.5")
    monkeypatch.setenv("PL_FIT__TRAINER__MAX_EPOCHS", "2")
    monkeypatch.setenv("PL_FIT__CONFIG", "of_env.yaml")
    kwargs = {"parser_kwargs": {"default_env": True, "fit": {"default_env": True}}}
    cli = ran(["fit", "--trainer.max_epochs=3"], **kwargs)
    assert (cli.model.lr, cli.model.size, cli.trainer.current_epoch) == (0.5, 9, 3)
    assert ran(["fit"]).model.lr == 0.1, "they are read where asked for only"


class Linked(LightningCLI):
    """With links and arguments of its own."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--times", default=1, type=int)
        parser.link_arguments("data.batch_size", "model.size", compute_fn=lambda size: size * 10)
        parser.link_arguments("data.samples", "model.lr", apply_on="instantiate", compute_fn=float)
        parser.add_lightning_class_args(EarlyStopping, "stopping")
        parser.set_defaults({"stopping.monitor": "val_loss", "stopping.patience": 5})


def test_links_and_arguments_of_ones_own() -> None:
    args = ["--data.batch_size=4", "--data.samples=16", "--times=3", "--stopping.patience=2"]
    cli = Linked(CliModel, CliData, run=False, args=args, trainer_defaults=QUIET)
    assert (cli.model.size, cli.model.lr, cli.config["times"]) == (40, 16.0, 3)
    (stopping,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, EarlyStopping))
    assert (stopping.monitor, stopping.patience) == ("val_loss", 2)


class Hooked(LightningCLI):
    """Says what it is asked for."""

    said: list[str]

    def before_instantiate_classes(self) -> None:
        self.said = ["before_instantiate"]

    def after_instantiate_classes(self) -> None:
        self.said.append(f"after_instantiate {type(self.trainer).__name__}")

    def before_fit(self) -> None:
        self.said.append(f"before_fit {self.trainer.current_epoch}")

    def after_fit(self) -> None:
        self.said.append(f"after_fit {self.trainer.current_epoch}")

    def before_validate(self) -> None:
        self.said.append("before_validate")


def test_hooks_around_what_is_run() -> None:
    cli = Hooked(CliModel, CliData, args=["fit"], trainer_defaults=QUIET, save_config_callback=None)
    assert cli.said == ["before_instantiate", "after_instantiate Trainer", "before_fit 0", "after_fit 1"]
    assert cli.subcommand == "fit"


@pytest.mark.parametrize("subcommand", ["validate", "predict", "test"])
def test_every_subcommand_runs_that_method(subcommand: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    method = getattr(th.Trainer, subcommand)
    note = functools.wraps(method)(lambda self, **kwargs: called.append(kwargs))
    monkeypatch.setattr(th.Trainer, subcommand, note)
    options = {"validate": ["--verbose=false"], "test": [], "predict": ["--return_predictions=false"]}[subcommand]
    cli = ran([subcommand, *options], trainer_class=th.Trainer)
    assert (called[0]["model"], called[0]["datamodule"]) == (cli.model, cli.datamodule)
    assert called[0].get("verbose" if subcommand == "validate" else "return_predictions") in (False, None)


RMSPROP = ["--optimizer=torch.optim.RMSprop"]
PLATEAU = ["--lr_scheduler=thunderhead.cli.ReduceLROnPlateau", "--lr_scheduler.monitor=val_loss"]
INJECTED = ["--model.optimizer=Adam", "--model.optimizer.lr=0.5"]
INJECTED += ["--model.scheduler=ExponentialLR", "--model.scheduler.gamma=0.5"]


@pytest.mark.parametrize(
    ("model", "args", "optimizer", "scheduler"),
    [
        (CliModel, [], "SGD", None),
        (BareModel, ["--optimizer=Adam", "--optimizer.lr=0.5"], "Adam", None),
        (BareModel, [*RMSPROP, "--lr_scheduler=StepLR", "--lr_scheduler.step_size=2"], "RMSprop", "StepLR"),
        (BareModel, [*RMSPROP, *PLATEAU], "RMSprop", "ReduceLROnPlateau"),
        (InjectedModel, [], "SGD", None),
        (InjectedModel, INJECTED, "Adam", "ExponentialLR"),
    ],
)
def test_optimizers_and_schedulers(model: type, args: list[str], optimizer: str, scheduler: str | None) -> None:
    cli = ran(["fit", *args], model_class=model)
    assert type(cli.trainer.optimizers[0]).__name__ == optimizer
    found = [config.scheduler for config in cli.trainer.lr_scheduler_configs]
    assert [type(each).__name__ for each in found] == ([] if scheduler is None else [scheduler])
    if scheduler == "ReduceLROnPlateau":
        assert isinstance(found[0], ReduceLROnPlateau)
        assert cli.trainer.lr_scheduler_configs[0].monitor == "val_loss"


def test_an_optimizer_has_parameters_that_configure_model_makes() -> None:
    class Late(BareModel):
        def configure_model(self) -> None:
            if not hasattr(self, "late"):
                self.late = nn.Linear(1, 1)

    cli = ran(["fit", "--optimizer=SGD", "--optimizer.lr=0.5"], model_class=Late)
    owned = {id(parameter) for parameter in cli.trainer.optimizers[0].param_groups[0]["params"]}
    assert id(cli.model.late.weight) in owned


class TwoOptimizers(LightningCLI):
    """One is given to the module."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_optimizer_args(torch.optim.Adam, "first", link_to="model.first")
        parser.add_optimizer_args((torch.optim.SGD,), "second", link_to="model.second")
        parser.add_lr_scheduler_args(torch.optim.lr_scheduler.StepLR, "steps", link_to="model.steps")
        parser.set_defaults(
            {"second": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.25}}, "steps.step_size": 3}
        )


class GivenOptimizers(BareModel):
    """Is given descriptions."""

    def __init__(self, first: dict[str, Any], second: dict[str, Any], steps: dict[str, Any]) -> None:
        super().__init__()
        self.given = (first, second, steps)


def test_optimizers_that_are_linked_come_as_descriptions() -> None:
    cli = TwoOptimizers(GivenOptimizers, CliData, run=False, args=["--first.lr=0.5"], trainer_defaults=QUIET)
    first, second, steps = cli.model.given
    assert (first["class_path"], first["init_args"]["lr"]) == ("torch.optim.adam.Adam", 0.5)
    assert (second["class_path"], second["init_args"]["lr"]) == ("torch.optim.SGD", 0.25)
    assert steps["init_args"]["step_size"] == 3
    optimizer = th.cli.instantiate_class(cli.model.parameters(), first)
    assert isinstance(optimizer, torch.optim.Adam)


def test_two_automatic_optimizers_are_refused() -> None:
    class Twice(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_optimizer_args(torch.optim.Adam, "first")
            parser.add_optimizer_args(torch.optim.SGD, "second")

    with pytest.raises(MisconfigurationException, match=r"\['first', 'second'.*pass link_to"):
        Twice(BareModel, run=False, args=[], trainer_defaults=QUIET)


@pytest.mark.parametrize(
    ("given", "default", "seed"),
    [
        ([], True, 0),
        (["--seed_everything=5"], True, 5),
        ([], 7, 7),
        (["--seed_everything=false"], 7, None),
        ([], False, None),
    ],
)
def test_the_seed(given: list[str], default: Any, seed: int | None) -> None:
    cli = made(given, seed_everything_default=default)
    assert cli.config["seed_everything"] == (False if seed is None else seed)
    drawn = cli.model.head.weight.clone()
    if seed is not None:
        th.seed_everything(seed)
        again = made(given, seed_everything_default=default).model.head.weight
        assert torch.equal(drawn, again)


def test_arguments_of_the_process_beside_others_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", "fit"])
    with pytest.warns(UserWarning, match=r"does not read the arguments of the process, \['fit'\]"):
        made([])


def test_an_optimizer_of_the_module_is_replaced_with_a_word() -> None:
    with pytest.warns(UserWarning, match=r"CliModel.configure_optimizers is replaced by --optimizer"):
        made(["--optimizer=SGD", "--optimizer.lr=1"])


SCRIPT = f"""
import sys
sys.path.insert(0, {str(Path(cli_parts.__file__).parent)!r})
from thunderhead.cli import LightningCLI
from cli_parts import CliData, CliModel
if __name__ == "__main__":
    LightningCLI(CliModel, CliData, trainer_defaults=dict(accelerator="cpu", enable_progress_bar=False))
"""


def test_a_script(tmp_path: Path) -> None:
    """The same as a process: it trains, writes its configuration, and refuses."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(script), *args], capture_output=True, text=True, timeout=60)

    trained = run("fit", "--trainer.max_epochs=1", "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=.")
    assert trained.returncode == 0, trained.stderr
    assert yaml.safe_load((tmp_path / "lightning_logs/version_0/config.yaml").read_text())["trainer"]["max_epochs"] == 1
    refused = run("fit", "--trainer.max_epoch=1")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        "error: --trainer.max_epoch=1: there is no such option. Did you mean 'trainer.max_epochs'?"
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_words_are_completed_in_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        ran([f"--print_completion=shtab-{shell}"])
    assert exit_.value.code == 0
    assert "trainer.max_epochs" in capsys.readouterr().out


def test_without_its_extra_the_command_says_what_to_install() -> None:
    start = "import runpy, sys; sys.modules['jsonargparse'] = None; sys.argv = ['-m']; "
    found = subprocess.run(
        [sys.executable, "-c", start + "runpy.run_module('thunderhead.cli', run_name='__main__')"],
        capture_output=True,
        text=True,
        check=False,
    )
    said = "thunderhead.cli needs jsonargparse, which is not installed; pip install 'thunderhead[cli]'"
    assert (found.returncode, found.stderr.strip()) == (1, said)
