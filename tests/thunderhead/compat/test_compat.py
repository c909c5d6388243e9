"""Lightning's names are ours: every module of the table, what is lacking, and the three ways to ask for it."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import thunderhead as th
from thunderhead import compat
from thunderhead.checkpoint.capture import FORMAT_VERSION
from thunderhead.compat import names
from thunderhead.exceptions import MisconfigurationException
from thunderhead.job.errors import InvalidConfiguration
from thunderhead_agent.build import build

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import argparse
import torch
import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.callbacks.progress import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.types import OptimizerLRScheduler, STEP_OUTPUT
from lightning.fabric.utilities.seed import seed_everything
import pytorch_lightning as pl


class Regression(pl.LightningModule):
    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx) -> STEP_OUTPUT:
        loss = self.layer(batch).square().mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


@rank_zero_only
def tell(*values):
    print(*values)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int)
    seed_everything(1, verbose=False)
    trainer = L.Trainer(
        max_epochs=parser.parse_args().epochs,
        accelerator="cpu",
        logger=CSVLogger("logs"),
        log_every_n_steps=1,
        callbacks=[EarlyStopping("loss"), LearningRateMonitor("step"), ModelCheckpoint(monitor="loss")],
    )
    assert isinstance(trainer, pl.Trainer) and not isinstance(trainer.strategy, DeepSpeedStrategy)
    assert isinstance(FSDPStrategy(), ModelParallelStrategy)
    trainer.fit(Regression(), torch.utils.data.DataLoader(torch.randn(16, 4), batch_size=4))
    tell("trained by", type(trainer).__module__, trainer.global_step, trainer.checkpoint_callback.best_model_path)


if __name__ == "__main__":
    main()
"""


@pytest.fixture
def _installed() -> Iterator[None]:
    compat.install()
    yield
    compat.uninstall()


def run(*arguments: str, code: str = SCRIPT, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, on a script written to ``cwd``."""
    (cwd / "script.py").write_text(code)
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "runtime"), "OMP_NUM_THREADS": "1", **environ}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=settings, capture_output=True, text=True)


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("module", sorted(names.MODULES))
def test_every_name_resolves_or_explains_itself(module: str) -> None:
    found = importlib.import_module(module)
    for name in names.MODULES[module]:
        value = getattr(found, name)
        if names.home(module, name) is not None:
            assert type(value).__name__ != "Lacking"
            continue
        with pytest.raises(MisconfigurationException, match=f"{name} is not available in Thunderhead: .+"):
            value()
    assert set(found.__all__) == names.MODULES[module]


@pytest.mark.usefixtures("_installed")
def test_both_spellings_are_the_same_objects() -> None:
    import lightning
    import lightning.pytorch as new
    import pytorch_lightning as old

    assert lightning.LightningModule is new.LightningModule is old.LightningModule is th.LightningModule
    assert old.callbacks.EarlyStopping is th.callbacks.EarlyStopping
    assert new.utilities.rank_zero.rank_zero_only is lightning.fabric.utilities.rank_zero_only
    assert lightning.__version__ == new.__version__ == FORMAT_VERSION
    assert "Trainer" in dir(lightning)
    assert "callbacks" in dir(new)


@pytest.mark.usefixtures("_installed")
def test_a_class_we_lack() -> None:
    from lightning.pytorch.strategies import DeepSpeedStrategy

    assert not isinstance(th.Trainer(logger=False).strategy, DeepSpeedStrategy)
    assert not issubclass(int, DeepSpeedStrategy)
    annotation: Any = DeepSpeedStrategy | None
    assert annotation is not None
    assert "use FSDPStrategy" in repr(DeepSpeedStrategy)
    with pytest.raises(MisconfigurationException, match="DeepSpeedStrategy is not available"):
        DeepSpeedStrategy.strategy_name  # noqa: B018 - looking is what is refused


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("lightning.pytorch.strategies.DeepSpeedStrategy", "use FSDPStrategy"),
        ("lightning.pytorch.accelerators.XLAAccelerator", "accelerator='tpu'"),
        ("lightning.pytorch.loggers.CometLogger", "TensorBoardLogger"),
        ("lightning.pytorch.loggers.LitLogger", "TensorBoardLogger"),
        ("lightning.fabric.strategies.XLAStrategy", "accelerator='tpu'"),
        ("lightning.fabric.strategies.XLAFSDPStrategy", "accelerator='tpu'"),
        ("lightning.pytorch.plugins.DeepSpeedPrecision", "bf16-mixed"),
        ("lightning.pytorch.plugins.FSDPPrecision", "bf16-mixed"),
        ("lightning.pytorch.profilers.XLAProfiler", "torch_xla has ended"),
        ("lightning.pytorch.plugins.environments.XLAEnvironment", "torch_xla has ended"),
    ],
)
def test_the_alternative_is_named(name: str, instead: str) -> None:
    module, _, last = name.rpartition(".")
    assert names.home(module, last) is None
    assert instead in names.reason(last)


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("class_path", "instead"),
    [
        ("lightning.pytorch.loggers.CometLogger", "use TensorBoardLogger or CSVLogger"),
        ("pytorch_lightning.loggers.LitLogger", "use TensorBoardLogger or CSVLogger"),
        ("lightning.pytorch.strategies.DeepSpeedStrategy", "use FSDPStrategy, or shard in configure_model"),
        (
            "lightning.fabric.strategies.XLAStrategy",
            "torch_xla has ended; train with accelerator='tpu', by the package torch-tpu",
        ),
    ],
)
@pytest.mark.parametrize("init_args", [{}, {"project": "digits"}])
def test_a_job_file_is_told_the_alternative(class_path: str, instead: str, init_args: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfiguration, match=rf"{class_path} is not available in Thunderhead: {instead}"):
        build({"class_path": class_path, "init_args": init_args}, "spec.trainer.logger[0]")


@pytest.mark.usefixtures("_installed")
def test_names_that_nobody_knows() -> None:
    import lightning.pytorch.callbacks as callbacks

    with pytest.raises(
        AttributeError, match=r"EarlyStoping does not exist in thunderhead.compat. Did you mean 'EarlyS"
    ):
        callbacks.EarlyStoping  # noqa: B018 - looking is what is refused
    with pytest.raises(ImportError, match=r"^lightning.pytorch.callbacks.Nothing does not exist in thunderhead.compat"):
        exec("from lightning.pytorch.callbacks import Nothing")
    with pytest.raises(ModuleNotFoundError, match=r"no module 'lightning.pytorch.callback'. Did you mean 'callbacks'?"):
        importlib.import_module("lightning.pytorch.callback")
    with pytest.raises(ModuleNotFoundError, match="Of Lightning's internals only those have a counterpart"):
        importlib.import_module("lightning.pytorch.loops.fetchers")


@pytest.mark.usefixtures("_installed")
def test_objects_of_ours_are_pickled_under_our_names() -> None:
    from lightning.pytorch.utilities.parsing import AttributeDict

    assert pickle.loads(pickle.dumps(AttributeDict(a=1))).a == 1
    assert AttributeDict.__module__.startswith("thunderhead.")


@pytest.mark.usefixtures("_installed")
def test_rank_zero(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from lightning.pytorch.utilities import rank_zero

    said: list[str] = []
    tell = rank_zero.rank_zero_only(said.append)
    assert rank_zero.rank_zero_only.rank == 0
    tell("zero")
    cache = rank_zero.WarningCache()
    with pytest.warns(UserWarning, match="often"):
        cache.warn("often")
    cache.warn("often")
    with pytest.warns(rank_zero.LightningDeprecationWarning, match="old"):
        rank_zero.rank_zero_deprecation("old")
    rank_zero.rank_zero_info("seen %s", 1)
    monkeypatch.setenv("RANK", "2")
    assert rank_zero.rank_zero_only.rank == 2
    tell("two")
    rank_zero.rank_zero_warn("not here")
    rank_zero.rank_zero_info("unseen")
    assert rank_zero.rank_zero_only(lambda: 1, default=7)() == 7
    assert said == ["zero"]
    assert [record.getMessage() for record in caplog.records] == ["seen 1"]
    assert rank_zero.rank_prefixed_message("x", 3) == "[rank: 3] x"


@pytest.mark.usefixtures("_installed")
def test_grad_norm() -> None:
    from lightning.pytorch.utilities import grad_norm

    layer = torch.nn.Linear(2, 1)
    assert grad_norm(layer, 2) == {}
    (layer(torch.tensor([[3.0, 4.0]]))).sum().backward()
    found = {name: value.item() for name, value in grad_norm(layer, 2).items()}
    assert found == pytest.approx(
        {"grad_2.0_norm/weight": 5.0, "grad_2.0_norm/bias": 1.0, "grad_2.0_norm_total": 26**0.5}
    )
    with pytest.raises(MisconfigurationException, match="positive number or 'inf'"):
        grad_norm(layer, 0)


def test_installed_once_and_taken_away_again() -> None:
    before = list(sys.meta_path)
    compat.install()
    compat.install()
    assert len(sys.meta_path) == len(before) + 1
    compat.uninstall()
    assert sys.meta_path == before
    assert not any(name.partition(".")[0] in names.ROOTS for name in sys.modules)


def test_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning", type(sys)("lightning"))
    with pytest.raises(MisconfigurationException, match="comes too late: 'lightning' was imported before it"):
        compat.install()
    assert not compat.is_installed()


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("Lightning", True), ("0", False), ("", False)])
def test_values_of_the_variable(value: str, expected: bool) -> None:
    try:
        compat.install_if_asked({compat.VARIABLE: value})
        assert compat.is_installed() is expected
    finally:
        compat.uninstall()
    with pytest.raises(MisconfigurationException, match="THUNDERHEAD_COMPAT='perhaps' is neither 1 nor 0"):
        compat.install_if_asked({compat.VARIABLE: "perhaps"})


def test_installing_imports_neither_torch_nor_the_trainer(tmp_path: Path) -> None:
    code = (
        "import sys; import thunderhead.compat as c; c.install(); import lightning.pytorch.callbacks; "
        "print([n for n in sys.modules if n == 'torch' or n.startswith('thunderhead.trainer')])"
    )
    done = run("-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    "arguments", [("-m", "thunderhead.compat", "script.py"), ("-m", "thunderhead.compat", "-m", "script")]
)
def test_a_script_runs_unedited(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "--epochs", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith("trained by thunderhead.trainer.trainer 8 ")
    assert (tmp_path / "logs/lightning_logs/version_0/metrics.csv").exists()


def test_the_variable_acts_as_python_starts(tmp_path: Path) -> None:
    """The file that Python reads as it starts is part of the distribution; here its directory is made one of those."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert settings["force-include"] == {"runtime/thunderhead_compat.pth": "thunderhead_compat.pth"}
    code = (
        f"import site; site.addsitedir({str(ROOT / 'runtime')!r}); "
        "import lightning, sys; print(lightning.__name__, 'torch' in sys.modules)"
    )
    done = run("-c", code, cwd=tmp_path, THUNDERHEAD_COMPAT="1")
    assert done.stdout.strip() == "lightning False", done.stderr


def test_an_installed_lightning_is_not_touched(tmp_path: Path) -> None:
    package = tmp_path / "site" / "lightning"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the real one')")
    code = "import thunderhead.compat as c; c.install(); import lightning; print(lightning.Trainer.__module__)"
    path = f"{ROOT / 'runtime'}{os.pathsep}{package.parent}"
    done = run("-c", code, cwd=tmp_path, PYTHONPATH=path)
    assert done.stdout.strip() == "thunderhead.trainer.trainer", done.stderr
    done = run("-c", "import thunderhead, lightning", cwd=tmp_path, PYTHONPATH=path)
    assert "the real one" in done.stderr


@pytest.mark.parametrize("words", [(), ("--epochs", "2"), ("nosuch.py",)])
def test_the_switch_says_how_it_is_used(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run("-m", "thunderhead.compat", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m thunderhead.compat (SCRIPT | -m MODULE)")
    assert ("nosuch.py: no such file; give the path of a script" in done.stderr) == (words == ("nosuch.py",))
