"""What the other arguments make of a run: dry runs, determinism, barebones, and what is there by default."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from trainer_line import TEN, Line, numbers, run, trainer
from trainer_models import QUIET

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers.dummy import DummyLogger


@pytest.mark.parametrize(("batches", "expected"), [(True, 1), (1, 1), (3, 3)])
def test_fast_dev_run(batches: int, expected: int) -> None:
    class Whole(Line):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.fed.append(batch[0].item())

    stopping = th.callbacks.EarlyStopping("nothing")
    saving = th.callbacks.ModelCheckpoint(monitor="nothing")
    made = th.Trainer(
        **{**QUIET, "logger": True, "enable_checkpointing": None},
        fast_dev_run=batches,
        max_epochs=5,
        max_steps=99,
        limit_val_batches=2,
        num_sanity_val_steps=2,
        val_check_interval=7,
        callbacks=[stopping, saving],
    )
    module = Whole()
    made.fit(module, numbers(*TEN), numbers(*TEN))
    assert module.fed == TEN[:expected]
    assert module.validated == [expected] * expected
    assert (made.current_epoch, made.global_step, made.max_epochs, made.max_steps) == (1, expected, 1, expected)
    assert saving.best_model_path == ""
    assert [type(logger) for logger in made.loggers] == [DummyLogger]
    module.fed = []
    made.test(module, numbers(*TEN), verbose=False)
    assert module.fed == TEN[:expected]


@pytest.fixture
def _torch_switches() -> Any:
    before = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    benchmark = torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    torch.backends.cudnn.benchmark = benchmark


@pytest.mark.usefixtures("_torch_switches")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (True, True, True)),
        ({"deterministic": True}, (True, False, False)),
        ({"deterministic": True, "benchmark": True}, (True, False, True)),
        ({"deterministic": "warn"}, (True, True, True)),
        ({"deterministic": False}, (False, False, True)),
        ({"benchmark": False}, (True, True, False)),
    ],
)
def test_determinism(arguments: dict[str, Any], expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From algorithms that warn, and a benchmark: what is not given is left alone."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    trainer(**arguments)
    assert (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    ) == expected


def test_determinism_of_another_kind() -> None:
    with pytest.raises(
        MisconfigurationException, match=r"deterministic='always' does not exist. There are True, False"
    ):
        trainer(deterministic="always")


@pytest.mark.usefixtures("_torch_switches")
@pytest.mark.parametrize(("deterministic", "workspace"), [(True, ":4096:8"), ("warn", None), (False, None)])
def test_determinism_gives_cublas_its_workspace(
    deterministic: Any, workspace: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    trainer(deterministic=deterministic)
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == workspace


def test_barebones_has_nothing() -> None:
    made = th.Trainer(accelerator="cpu", barebones=True, max_epochs=1)
    assert (made.loggers, made.callbacks, made.log_every_n_steps, made.num_sanity_val_steps) == ([], [], 0, 0)
    module = Line()
    made.fit(module, numbers(*TEN), numbers(1))
    assert (module.fed, module.validated) == (TEN, [10])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, True) for name in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")),
        *(("log_every_n_steps", 1), ("num_sanity_val_steps", -1), ("fast_dev_run", True), ("detect_anomaly", True)),
        *(("fast_dev_run", 2), ("profiler", "simple")),
    ],
)
def test_barebones_stands_alone(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"barebones=True.*{name}"):
        th.Trainer(accelerator="cpu", barebones=True, max_epochs=1, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, False) for name in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")),
        *(("log_every_n_steps", 0), ("num_sanity_val_steps", 0), ("fast_dev_run", False), ("detect_anomaly", False)),
    ],
)
def test_barebones_hears_twice_what_it_means_anyway(name: str, value: Any) -> None:
    assert th.Trainer(accelerator="cpu", barebones=True, max_epochs=1, **{name: value}).callbacks == []


def test_one_progress_bar_at_most() -> None:
    bars = [th.callbacks.TQDMProgressBar(), th.callbacks.TQDMProgressBar()]
    with pytest.raises(MisconfigurationException, match="2 progress bars were given; pass one"):
        th.Trainer(**{**QUIET, "enable_progress_bar": None}, max_epochs=1, callbacks=bars)


def test_the_order_of_callbacks() -> None:
    """Those that save come last; others, and those among themselves, keep their order."""

    class Other(th.Callback):
        """Nothing."""

    saving = [th.callbacks.ModelCheckpoint(monitor="a"), th.callbacks.ModelCheckpoint(monitor="b")]
    others = [Other(), th.callbacks.EarlyStopping("a"), Other()]
    given = [saving[0], others[0], saving[1], others[1], others[2]]
    made = th.Trainer(**{**QUIET, "enable_checkpointing": None}, max_epochs=1, callbacks=given)
    assert made.callbacks == [*others, *saving]
    assert (made.checkpoint_callback, made.checkpoint_callbacks) == (saving[0], saving)
    assert (made.early_stopping_callback, made.early_stopping_callbacks) == (others[1], [others[1]])


def test_anomalies_are_found() -> None:
    class Root(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return (self.weight * 0).sqrt().sum() * 0

    with pytest.raises(RuntimeError, match="returned nan"), pytest.warns(UserWarning, match="Error detected"):
        run(Root(), detect_anomaly=True)
    assert not torch.is_anomaly_enabled()
    run(Root(), detect_anomaly=False)


@pytest.mark.parametrize("mode", [True, False])
def test_inference_mode(mode: bool) -> None:
    """No gradients either way; inside fit it is never inference mode."""
    found: list[tuple[bool, bool]] = []

    class Looking(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            found.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))

    module, made = run(Looking(), val=numbers(1), inference_mode=mode)
    made.validate(module, numbers(1), verbose=False)
    assert found == [(False, False), (mode, False)]
    assert torch.is_grad_enabled()


def test_what_there_is_by_default(tmp_path: Any) -> None:
    made = th.Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path)
    assert made.default_root_dir == str(tmp_path)
    assert len(made.loggers) == 1
    assert isinstance(made.checkpoint_callback, th.callbacks.ModelCheckpoint)
    assert made.callbacks[-1] is made.checkpoint_callback
    assert made.progress_bar_callback is not None
    with pytest.raises(MisconfigurationException, match="enable_checkpointing=False, but callbacks holds"):
        trainer(th.callbacks.ModelCheckpoint())
    with pytest.raises(MisconfigurationException, match="enable_progress_bar=False, but callbacks holds"):
        trainer(made.progress_bar_callback)


def test_modules_and_data_that_do_not_fit() -> None:
    class Bare(th.LightningModule):
        def configure_optimizers(self) -> Any:
            """None."""

    class Unoptimised(th.LightningModule):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            """None."""

    class Old(Line):
        def validation_epoch_end(self, outputs: Any) -> None:
            """Of the old days."""

    class Data(th.LightningDataModule):
        """Empty."""

    cases: tuple[tuple[Any, type[Exception], str], ...] = (
        (Bare(), MisconfigurationException, "Bare has no training_step"),
        (Unoptimised(), MisconfigurationException, "Unoptimised has no configure_optimizers"),
        (Old(), NotImplementedError, "use on_validation_epoch_end"),
        (torch.nn.Linear(1, 1), TypeError, "got a Linear; pass a LightningModule"),
        (None, MisconfigurationException, "needs a module"),
    )
    for module, error, message in cases:
        with pytest.raises(error, match=message):
            trainer().fit(module, numbers(1))
    with pytest.raises(MisconfigurationException, match="Line has no train_dataloader; define it, pass a datamodule"):
        trainer().fit(Line())
    with pytest.raises(MisconfigurationException, match="got loaders and a datamodule; pass only one"):
        trainer().fit(Line(), numbers(1), datamodule=Data())
    with pytest.raises(MisconfigurationException, match="Line has no test_step"):
        trainer().test(Line(), numbers(1))


class Data(th.LightningDataModule):
    """Ten numbers."""

    def train_dataloader(self) -> Any:
        """Numbers."""
        return numbers(*TEN)


@pytest.mark.parametrize(
    ("fn", "given", "message"),
    [
        ("fit", {"model": Line()}, r"Trainer.fit got the class Data; pass an instance: Data\(\)"),
        ("test", {"model": Line()}, r"Trainer.test got the class Data"),
        ("fit", {"model": Line, "datamodule": None}, r"Trainer.fit got the class Line; pass an instance: Line\(\)"),
        ("fit", {"model": Line(), "datamodule": None, "train_dataloaders": Data}, r"Trainer.fit got the class Data"),
        ("fit", {"model": Line(), "datamodule": "data"}, r"datamodule='data'; pass an instance of a class derived"),
    ],
)
def test_a_class_in_place_of_an_instance(fn: str, given: dict[str, Any], message: str) -> None:
    made = trainer()
    with pytest.raises(MisconfigurationException, match=message):
        getattr(made, fn)(**{"datamodule": Data, **given})
    assert made.state.status == "initializing"


def test_an_empty_loader_is_told_of() -> None:
    with pytest.warns(UserWarning, match="the training loader is empty, so nothing is trained"):
        trainer().fit(Line(), torch.utils.data.DataLoader([], batch_size=2))
    trainer(limit_train_batches=0).fit(Line(), torch.utils.data.DataLoader([], batch_size=2))
