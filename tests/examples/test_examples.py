"""Every example is a valid job, and its module learns; the digits have a test of their own, as a whole job."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import thunderhead as th
from thunderhead_agent.build import build
from thunderhead_api.validate import validate
from thunderhead_cli.jobfile import read_job_file

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/job.yaml"))

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def _one_thread_and_no_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before, threads = set(sys.modules), torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if str(EXAMPLES) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def train(name: str, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> th.Trainer:
    """Build an example from its job file, as a worker does, and train it with some arguments changed."""
    monkeypatch.syspath_prepend(EXAMPLES / name)
    spec = read_job_file(EXAMPLES / name / "job.yaml").job["spec"]
    th.seed_everything(spec["seed"], verbose=False)
    module, datamodule = build(spec["module"], "spec.module"), build(spec["datamodule"], "spec.datamodule")
    arguments = {**spec["trainer"], "enable_progress_bar": False, "enable_model_summary": False, **changes}
    arguments["callbacks"] = [build(item, "spec.trainer.callbacks") for item in arguments.get("callbacks", [])]
    trainer = th.Trainer(**arguments, accelerator="cpu")
    trainer.fit(module, datamodule=datamodule)
    return trainer


@pytest.mark.parametrize("name", NAMES)
def test_the_job_is_valid_and_described(name: str) -> None:
    job = read_job_file(EXAMPLES / name / "job.yaml").job
    assert validate(job) == []
    assert job["metadata"]["name"] == name
    file = job["spec"]["module"]["class_path"].partition(".")[0] + ".py"
    assert (EXAMPLES / name / file).is_file()
    readme = (EXAMPLES / name / "README.md").read_text()
    assert f"thunderhead run -f examples/{name}/job.yaml" in readme
    assert f"--from-file=examples/{name}/{file}" in readme


@pytest.mark.parametrize("name", NAMES)
def test_one_batch_goes_through_everything(name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    trainer = train(name, monkeypatch, fast_dev_run=True)
    assert trainer.state.finished
    assert trainer.global_step >= 1


def test_the_gpt_learns_which_characters_follow(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    trainer = train("gpt", monkeypatch, max_steps=60, val_check_interval="60 batches", log_every_n_steps=10)
    # A guess among 100 characters costs 4.6 nats; knowing how often each comes up, 3.1.
    assert trainer.callback_metrics["val_loss"] < 2.9
    assert "'The " in capsys.readouterr().out


def test_the_autoencoder_beats_the_mean_image_and_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = train("autoencoder", monkeypatch)
    assert trainer.current_epoch < trainer.max_epochs == 100
    images = trainer.datamodule.images.tensors[0]  # type: ignore[union-attr]  # the example's own
    of_the_mean = (images - images.mean(dim=0)).square().mean()
    assert trainer.callback_metrics["val_loss"] < 0.65 * of_the_mean
    codes = torch.cat(trainer.predict(datamodule=trainer.datamodule, ckpt_path="best"))
    assert codes.shape == (1797, 2)


def test_both_halves_of_the_gan_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = train("gan", monkeypatch, max_epochs=6)
    assert trainer.global_step == 2 * 6 * 28
    module: Any = trainer.lightning_module.eval()
    images = trainer.datamodule.images.tensors[0]  # type: ignore[union-attr]  # the example's own
    with torch.no_grad():
        made = module(torch.randn(256, module.hparams.noise))
        answers = [module.discriminator(batch).sigmoid().mean().item() for batch in (images, made)]
    assert answers[0] > answers[1]
    # The corners of a digit are dark: so they are in what the generator makes.
    assert made[:, 0].mean() < 0.1


def test_lbfgs_needs_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = train("lbfgs", monkeypatch, max_epochs=3)
    assert trainer.global_step == 3
    assert 0.94 < trainer.callback_metrics["val_acc"] < 0.96
