"""What arguments make of a run: how long it is, when it validates, what a step does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset
from trainer_line import Line, numbers, trainer
from trainer_models import QUIET

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers.dummy import DummyLogger
from thunderhead.precision import make_precision

TEN = list(range(1, 11))


def run(module: Line | None = None, train: Any = None, val: Any = None, **arguments: Any) -> tuple[Line, th.Trainer]:
    """Fit on ten batches and validate on four, without a sanity check unless asked for."""
    module = Line() if module is None else module
    made = trainer(**{"num_sanity_val_steps": 0, **arguments})
    made.fit(module, numbers(*TEN) if train is None else train, numbers(*range(4)) if val is None else val)
    return module, made


# --- how much, how long ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "batches"),
    [(1, 1), ("1 batch", 1), (1.0, 10), ("100%", 10), (0.25, 2), ("3 batches", 3), (99, 10), (0, 0), (0.0, 0)],
)
def test_the_batches_that_are_trained_on(limit: Any, batches: int) -> None:
    assert run(limit_train_batches=limit)[0].fed == TEN[:batches]


class Endless(IterableDataset[Any]):
    """Without a length."""

    def __iter__(self) -> Any:
        return iter([[torch.tensor([float(number)])] for number in TEN])


@pytest.mark.parametrize(
    ("arguments", "fed", "validated"),
    [({}, 10, [10]), ({"limit_train_batches": 3}, 3, [3]), ({"val_check_interval": 4}, 10, [4, 8])],
)
def test_loaders_without_a_length(arguments: dict[str, Any], fed: int, validated: list[int]) -> None:
    module, _ = run(train=DataLoader(Endless(), batch_size=None), val=numbers(0), **arguments)
    assert (module.fed, module.validated) == (TEN[:fed], validated)


def test_the_other_loops_have_their_own_limits() -> None:
    class Evaluating(Line):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.fed.append(batch[0].item())

        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return batch[0].item()

    module = Evaluating()
    trainer(limit_test_batches=0.5).test(module, numbers(*TEN), verbose=False)
    assert module.fed == TEN[:5]
    made = trainer(limit_predict_batches="2 batches")
    assert made.predict(module, numbers(*TEN)) == [1, 2]
    assert made.predict(module, [numbers(7), numbers(8, 9)]) == [[7], [8, 9]]
    assert made.predict(module, numbers(*TEN), return_predictions=False) is None
    assert len(run(limit_val_batches=3)[0].validated) == 3


def test_the_step_says_whether_it_takes_several_loaders() -> None:
    class Asking(Line):
        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
            return dataloader_idx

    class Short(Line):
        def predict_step(self, batch: Any) -> Any:
            return batch[0].item()

    assert trainer().predict(Asking(), [numbers(7), numbers(8, 9)]) == [[0], [1, 1]]
    assert trainer().predict(Short(), numbers(8, 9)) == [8, 9]
    with pytest.raises(RuntimeError, match="wants dataloader_idx, but there is one loader"):
        trainer().predict(Asking(), numbers(7))
    with pytest.raises(RuntimeError, match="batches of several loaders; give it an argument dataloader_idx"):
        trainer().predict(Short(), [numbers(7), numbers(8)])


@pytest.mark.parametrize(
    ("arguments", "batches", "epochs"),
    [
        ({"max_epochs": 2}, 20, 2),
        ({"max_epochs": 0}, 0, 0),
        ({"max_steps": 0}, 0, 0),
        ({"max_steps": 12, "max_epochs": None}, 12, 2),
        ({"max_steps": 12, "max_epochs": 1}, 10, 1),
        ({"max_steps": 12, "max_epochs": -1}, 12, 2),
        # Three windows of an epoch: after four, eight and ten batches.
        ({"max_steps": 3, "max_epochs": 5, "accumulate_grad_batches": 4}, 10, 1),
        ({"max_time": timedelta(0)}, 0, 0),
    ],
)
def test_the_first_limit_ends_it(arguments: dict[str, Any], batches: int, epochs: int) -> None:
    module, made = run(**arguments)
    assert (len(module.fed), made.current_epoch) == (batches, epochs)


class StopAfterThree(Line):
    """Wants to stop."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Ask."""
        self.trainer.should_stop = self.trainer.should_stop or len(self.fed) == 3


@pytest.mark.parametrize(
    ("arguments", "batches"),
    [
        ({}, 3),
        ({"min_steps": 2, "min_epochs": 0}, 3),
        ({"min_steps": 7, "min_epochs": 0}, 7),
        ({"min_steps": 2}, 10),  # brings a minimum of one epoch with it
        ({"min_epochs": 1}, 10),
        ({"min_epochs": 2}, 20),
        ({"min_epochs": 1, "min_steps": 13}, 13),
    ],
)
def test_should_stop_waits_for_the_minimum(arguments: dict[str, Any], batches: int) -> None:
    assert len(run(StopAfterThree(), max_epochs=3, **arguments)[0].fed) == batches


def test_without_any_limit_there_is_one_and_it_is_said() -> None:
    made = th.Trainer(**QUIET)
    with pytest.warns(UserWarning, match=r"max_epochs was not set.*1000; -1 is without a limit"):
        made.fit(StopAfterThree(), numbers(*TEN))
    assert made.max_epochs == 1000
    assert th.Trainer(**QUIET, max_steps=5).max_epochs == -1
    assert th.Trainer(**QUIET, max_time="00:00:00:01").max_epochs == -1
    assert th.Trainer(**QUIET, callbacks=th.callbacks.Timer(timedelta(seconds=1))).max_epochs == -1


def test_estimated_steps() -> None:
    assert run(max_epochs=3, accumulate_grad_batches=4, limit_train_batches=9)[1].estimated_stepping_batches == 9
    assert run(max_epochs=3, max_steps=7)[1].estimated_stepping_batches == 7
    assert run(max_epochs=0)[1].estimated_stepping_batches in (0, 10)
    assert run(StopAfterThree(), max_epochs=-1)[1].estimated_stepping_batches == float("inf")


# --- validation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        ({}, [10, 20]),
        ({"val_check_interval": 1.0}, [10, 20]),
        ({"val_check_interval": "100%"}, [10, 20]),
        ({"val_check_interval": 1}, list(range(1, 21))),
        ({"val_check_interval": "1 batch"}, list(range(1, 21))),
        ({"val_check_interval": 0.5}, [5, 10, 15, 20]),
        ({"val_check_interval": 0.01}, list(range(1, 21))),
        ({"val_check_interval": 4}, [4, 8, 14, 18]),
        ({"val_check_interval": 4, "check_val_every_n_epoch": None}, [4, 8, 12, 16, 20]),
        ({"val_check_interval": 15, "check_val_every_n_epoch": None}, [15]),
        ({"check_val_every_n_epoch": 2}, [20]),
        ({"check_val_every_n_epoch": 3}, []),
        ({"val_check_interval": 0.5, "check_val_every_n_epoch": 2}, [15, 20]),
        ({"limit_val_batches": 0}, []),
        ({"val_check_interval": "00:00:00:00"}, list(range(1, 21))),
        ({"val_check_interval": "00:00:00:00", "check_val_every_n_epoch": 2}, list(range(11, 21))),
        ({"val_check_interval": timedelta(hours=1)}, []),
        ({"val_check_interval": {"days": 1}}, []),
    ],
)
def test_when_validation_runs(arguments: dict[str, Any], after: list[int]) -> None:
    assert run(val=numbers(0), max_epochs=2, **arguments)[0].validated == after


@pytest.mark.parametrize(("steps", "batches"), [(None, 2), (0, 0), (1, 1), (-1, 4), (99, 4)])
def test_sanity_check(steps: int | None, batches: int) -> None:
    class Logging(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.log("seen", 1.0)

        def on_train_start(self) -> None:
            assert self.trainer.callback_metrics == {}

    module, made = run(Logging(), num_sanity_val_steps=steps)
    assert module.validated == [0] * batches + [10] * 4
    assert made.callback_metrics == {"seen": 1.0}


def test_the_sanity_check_draws_no_numbers() -> None:
    class Drawing(Line):
        drawn: Any = None

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            torch.rand(3)

        def on_train_start(self) -> None:
            self.drawn = torch.rand(1).item()

    found = []
    for steps in (0, 2):
        th.seed_everything(3)
        module = Drawing()
        run(module, num_sanity_val_steps=steps)
        found.append(module.drawn)
    assert found[0] == found[1]


# --- a step ----------------------------------------------------------------------------------------------------------


def test_accumulation_steps_on_the_last_batch_too() -> None:
    """The loss is divided by k always, also for the shorter tail; windows start with each epoch."""
    weights: list[float] = []

    class Watching(Line):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            weights.append(self.weight.item())

    _, made = run(Watching(), accumulate_grad_batches=4, max_epochs=2, limit_train_batches=6)
    first = [0, 0, 0, -10 / 4, -10 / 4, -10 / 4 - 11 / 4]
    assert weights == [*first, *(first[-1] + value for value in first)]
    assert made.global_step == 4


class Gradients(Line):
    """Two weights with gradients of 3 and -4; keeps those that the optimizer got."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.got: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Whatever the batch."""
        return (self.weight * torch.tensor([3.0, -4.0])).sum()

    def on_before_zero_grad(self, optimizer: Any) -> None:
        """The gradients of the step before."""
        if self.weight.grad is not None:
            self.got = self.weight.grad.tolist()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [3, -4]),
        ({"gradient_clip_val": 0}, [3, -4]),
        ({"gradient_clip_val": -1}, [3, -4]),
        ({"gradient_clip_val": 1}, [0.6, -0.8]),
        ({"gradient_clip_val": 9.0}, [3, -4]),
        ({"gradient_clip_val": 2.5, "gradient_clip_algorithm": "norm"}, [1.5, -2]),
        ({"gradient_clip_val": 3.5, "gradient_clip_algorithm": "value"}, [3, -3.5]),
    ],
)
def test_clipping(arguments: dict[str, Any], expected: list[float]) -> None:
    module = Gradients()
    run(module, limit_train_batches=2, **arguments)
    assert module.got == pytest.approx(expected, rel=1e-5)


def test_clipping_of_ones_own() -> None:
    class Own(Gradients):
        def configure_gradient_clipping(self, optimizer: Any, *arguments: Any) -> None:
            assert arguments == (2.0, "value")
            self.weight.grad.mul_(2)  # type: ignore[union-attr]  # there is one

    module = Own()
    run(module, limit_train_batches=2, gradient_clip_val=2.0, gradient_clip_algorithm="value")
    assert module.got == [6, -8]


@pytest.mark.parametrize(
    ("given", "name", "weights", "activations"),
    [
        (None, "32-true", torch.float32, torch.float32),
        (32, "32-true", torch.float32, torch.float32),
        ("bf16", "bf16-mixed", torch.float32, torch.bfloat16),
        ("bf16-mixed", "bf16-mixed", torch.float32, torch.bfloat16),
        ("64", "64-true", torch.float64, torch.float64),
        ("bf16-true", "bf16-true", torch.bfloat16, torch.bfloat16),
    ],
)
def test_precision(given: Any, name: str, weights: torch.dtype, activations: torch.dtype) -> None:
    class Typed(Line):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.types: set[torch.dtype] = set()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            found = self.layer(batch[0].unsqueeze(1))
            self.types.add(found.dtype)
            return found.sum()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.types.add(self.layer(batch[0].unsqueeze(1)).dtype)

    module = Typed()
    made = run(module, precision=given)[1]
    assert (made.precision, module.layer.weight.dtype, module.types) == (name, weights, {activations})
    assert torch.get_default_dtype() == torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_precision_is_said_once() -> None:
    assert trainer(plugins=make_precision("64-true", "cpu")).precision == "64-true"
    with pytest.raises(MisconfigurationException, match="both set the precision; pass one"):
        trainer(precision="32-true", plugins=[make_precision("64-true", "cpu")])


# --- the rest --------------------------------------------------------------------------------------------------------


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


def test_barebones_has_nothing() -> None:
    made = th.Trainer(accelerator="cpu", barebones=True, max_epochs=1)
    assert (made.loggers, made.callbacks, made.log_every_n_steps, made.num_sanity_val_steps) == ([], [], 0, 0)
    module = Line()
    made.fit(module, numbers(*TEN), numbers(1))
    assert (module.fed, module.validated) == (TEN, [10])
    for name in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "detect_anomaly"):
        with pytest.raises(ValueError, match=f"barebones=True.*{name}"):
            th.Trainer(accelerator="cpu", barebones=True, max_epochs=1, **{name: True})


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
