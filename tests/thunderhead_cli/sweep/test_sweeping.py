"""The command as a user meets it: what is refused before anything runs, and one trial that is trained for real."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from thunderhead_cli.main import app

EXAMPLE = Path(__file__).parents[3] / "examples/digits"
RUNNER = CliRunner()


def a_file(directory: Path, **changes: object) -> Path:
    sweep = yaml.safe_load((EXAMPLE / "sweep.yaml").read_text()) | {"job": str(EXAMPLE / "job.yaml")} | changes
    path = directory / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep))
    return path


@pytest.mark.parametrize(
    ("changes", "options", "code", "said"),
    [
        ({}, ["--on", "moon"], 2, "--on moon: is neither local nor cluster"),
        ({}, ["-f", "nosuch.yaml"], 2, "nosuch.yaml: cannot be read: No such file or directory; give the path of a sw"),
        ({"job": "nosuch.yaml"}, [], 2, "nosuch.yaml: cannot be read"),
        ({"trials": -1}, [], 78, "trials = -1: Input should be greater than 0"),
        ({"parameters": {"nodes": {"type": "int", "low": 0, "high": 1}}}, [], 78, "spec.nodes = 0: "),
        ({"sampler": {"class_path": "Tea"}}, [], 78, "sampler.class_path = 'Tea': is no class of optuna.samplers"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, changes: dict[str, object], options: list[str], code: int, said: str
) -> None:
    file = a_file(tmp_path, **changes)
    result = RUNNER.invoke(app, ["sweep", "-f", str(file), "--sweeps", str(tmp_path / "sweeps"), *options])
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


@pytest.mark.slow
def test_a_sweep_of_the_example(tmp_path: Path) -> None:
    one = {
        name: {"type": "categorical", "choices": [1]} for name in ("nodes", "processesPerNode", "trainer.max_epochs")
    }
    lr = {"module.init_args.lr": {"type": "float", "low": 0.001, "high": 0.01, "log": True}}
    words = ["sweep", "-f", str(a_file(tmp_path, trials=1, parameters=one | lr)), "--sweeps", str(tmp_path / "sweeps")]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "trial 0 is complete: val_loss=" in result.stdout
    assert "best:        trial 0: thunderhead run -f " in result.stdout
    assert (tmp_path / "sweeps/digits-lr/history.png").stat().st_size > 1000

    again = RUNNER.invoke(app, words)
    assert again.exit_code == 0
    assert "(goes on after 1 trials)" in again.stdout
    assert "trial 0 starts" not in again.stdout
