"""Configurations of LightningCLI and job files, each from the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from thunderhead_cli.configs import limits
from thunderhead_cli.main import app

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/job.yaml"))
RUNNER = CliRunner()


def run(*args: str) -> tuple[int, Any, str]:
    found = RUNNER.invoke(app, ["job", *args])
    return found.exit_code, yaml.safe_load(found.stdout), found.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_comes_back(example: Path, tmp_path: Path) -> None:
    job = yaml.safe_load(example.read_text())
    code, config, told = run("to-config", str(example))
    assert code == 0
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    code, again, said = run("from-config", str(path), "--base", str(example))
    assert (code, again, said) == (0, job, "")
    lost = {line.split(" = ")[0].rpartition(" ")[2].removeprefix("spec.") for line in told.splitlines()}
    said_alike = {"module", "datamodule", "trainer", "seed", "nodes", "processesPerNode"}
    assert lost == ({"metadata"} | set(job["spec"])) - said_alike, "what a configuration cannot say is told, all of it"


CONFIG: dict[str, Any] = {
    "seed_everything": 7,
    "trainer": {
        "accelerator": "cpu",
        "devices": 2,
        "num_nodes": 3,
        "precision": "bf16-mixed",
        "logger": [{"class_path": "thunderhead.loggers.CSVLogger", "init_args": {"save_dir": "x"}}],
        "callbacks": [{"class_path": "thunderhead.callbacks.Timer", "init_args": {"duration": "00:01:00:00"}}],
        "max_epochs": 3,
        "limit_train_batches": 0.25,
        "limit_val_batches": 1,
        "val_check_interval": 10,
        "gradient_clip_val": 0.5,
    },
    "model": {"class_path": "digits.Classifier", "init_args": {"lr": 0.01}},
    "data": {"class_path": "digits.Digits"},
}


def written(tmp_path: Path, config: Any) -> str:
    path = tmp_path / "mnist.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


@pytest.mark.parametrize("command", ["fit", "validate"])
def test_a_configuration_comes_back(command: str, tmp_path: Path) -> None:
    config = CONFIG if command == "fit" else {command: CONFIG}
    code, job, said = run("from-config", written(tmp_path, config))
    assert code == 0, said
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    assert run("to-config", str(path))[1] == config


def test_a_new_job_is_whole(tmp_path: Path) -> None:
    (tmp_path / "digits.py").write_text("")
    code, job, said = run("from-config", written(tmp_path, CONFIG))
    assert code == 0
    assert job["metadata"]["name"] == "mnist"
    spec = job["spec"]
    assert (spec["nodes"], spec["processesPerNode"], spec["seed"]) == (3, 2, 7)
    assert (spec["trainer"]["limit_train_batches"], spec["trainer"]["limit_val_batches"]) == ("25%", "1 batch")
    assert spec["code"] == {"configMap": {"name": "mnist-code"}}
    assert "spec.checkpoint.uri is 's3://checkpoints/mnist'; write where yours go" in said
    assert "digits.py beside the configuration" in said


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"optimizer": {"class_path": "Adam"}}, "optimizer = {'class_path': 'Adam'}: a job has no optimizer"),
        ({"ckpt_path": "a.ckpt"}, "ckpt_path = 'a.ckpt': a job resumes from its own checkpoints"),
        ({"times": 3}, "times = 3: a job has no such field"),
        ({"trainer": {"profiler": "simple"}}, "trainer.profiler = 'simple': a job has no such field"),
        ({"trainer": {"deterministic": "warn"}}, "trainer.deterministic = 'warn': a job cannot say this: input"),
        ({"trainer": {"max_time": {"years": 1}}}, "trainer.max_time = {'years': 1}: a job cannot say this"),
        ({"trainer": {"devices": [0, 1]}}, "trainer.devices = [0, 1]: a job counts processes"),
        ({"trainer": {"strategy": {"class_path": "A"}}}, "trainer.strategy = {'class_path': 'A'}: a job cannot"),
    ],
)  # fmt: skip
def test_what_a_job_cannot_say_is_told(part: dict[str, Any], told: str, tmp_path: Path) -> None:
    code, job, said = run("from-config", written(tmp_path, {**CONFIG, **part}))
    assert code == 0
    (line,) = (line for line in said.splitlines() if "not in a job" in line)
    assert told in line
    assert job["spec"]["module"] == {"class_path": "digits.Classifier", "init_args": {"lr": 0.01}}


@pytest.mark.parametrize(
    ("given", "job"),
    [
        ({"days": 1, "minutes": 90, "seconds": 5}, "01:01:30:05"),
        ({"milliseconds": 90_001}, "00:00:01:31"),
        ({"seconds": 0.5}, "00:00:00:01"),
    ],
)
def test_durations_are_not_shortened(given: dict[str, float], job: str, tmp_path: Path) -> None:
    config = written(tmp_path, {**CONFIG, "trainer": {"max_time": given}})
    assert run("from-config", config)[1]["spec"]["trainer"]["max_time"] == job


def test_a_configuration_of_a_run_says_nothing_of_defaults(tmp_path: Path) -> None:
    """Runs save every argument; null is none."""
    full = {
        **CONFIG,
        "optimizer": None,
        "ckpt_path": None,
        "trainer": {**CONFIG["trainer"], "profiler": None, "plugins": None},
    }
    code, _, said = run("from-config", written(tmp_path, full))
    assert (code, "not in a job" in said) == (0, False)


def test_classes_of_the_script_can_be_left_out(tmp_path: Path) -> None:
    plain = {"model": {"lr": 0.01}, "data": {"batch_size": 3}}
    path = written(tmp_path, plain)
    code, _, said = run("from-config", path)
    why = "names no class, as the script's LightningCLI was given one; say which with --model package.Class"
    assert (code, said) == (78, f"{path}: model: {why}\n")
    code, job, _ = run("from-config", path, "--model", "digits.Classifier", "--data", "digits.Digits")
    assert code == 0
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    _, config, said = run("to-config", str(tmp_path / "job.yaml"), "--no-classes")
    assert {name: config[name] for name in plain} == plain
    assert "names the classes itself: digits.Classifier, digits.Digits" in said


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (None, 2, "cannot be read: No such file or directory; give the path of a configuration"),
        ("model: [1", 78, "is no valid YAML"),
        ("fit: {}\ntest: {}\n", 78, "holds fit and test, but a job does one thing"),
        (EXAMPLES[0].read_text(), 78, "holds a TrainingJob, and no configuration; use thunderhead job to-config"),
    ],
)
def test_what_is_no_configuration(text: str | None, code: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    found = run("from-config", str(path))
    assert found[0] == code
    assert said in found[2]


def test_a_job_that_would_be_refused_is_said_to_be(tmp_path: Path) -> None:
    code, _, said = run("from-config", written(tmp_path, {**CONFIG, "seed_everything": -3}))
    assert code == 78
    assert "spec.seed = -3" in said


@pytest.mark.parametrize(
    ("config", "job"),
    [(0.25, "25%"), (1.0, "100%"), (0.333, "33.3%"), (0.0, "0%"), (1, "1 batch"), (10, 10), (1e-5, "0.001%")],
)
def test_shares_and_numbers(config: float, job: object) -> None:
    assert limits.for_job(config) == job
    back = limits.for_config(job)
    assert (back, type(back)) == (config, type(config))


LBFGS = Path(__file__).parents[2] / "examples/lbfgs"


def test_the_configuration_of_an_example_is_that_of_its_job() -> None:
    assert yaml.safe_load((LBFGS / "config.yaml").read_text()) == run("to-config", str(LBFGS / "job.yaml"))[1]


def test_a_job_and_its_configuration_train_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    import thunderhead as th
    from thunderhead.cli import LightningCLI
    from thunderhead_agent.build import build

    monkeypatch.syspath_prepend(LBFGS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["script.py"])
    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "max_epochs": 2}
    given = [f"--trainer.{name}={str(value).lower()}" for name, value in quiet.items()]
    by_cli = LightningCLI(args=["fit", "-c", str(LBFGS / "config.yaml"), *given], save_config_callback=None)

    spec = yaml.safe_load((LBFGS / "job.yaml").read_text())["spec"]
    th.seed_everything(spec["seed"], workers=True)
    module, data = build(spec["module"], "spec.module"), build(spec["datamodule"], "spec.datamodule")
    th.Trainer(**{**spec["trainer"], **quiet}).fit(module, datamodule=data)
    for name, value in module.state_dict().items():
        assert torch.equal(value, by_cli.model.state_dict()[name])
