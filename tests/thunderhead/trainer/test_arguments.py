"""What each spelling of a Trainer argument means, and how a wrong one is refused."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from trainer_models import QUIET, Net, in_order, regression, shuffled

import thunderhead as th
from thunderhead.arguments import batch_limit, duration, validation_interval
from thunderhead.trainer.removed_arguments import SUCCESSORS


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (None, 1.0),
        (1, 1),
        (1.0, 1.0),
        (0, 0),
        (0.0, 0.0),
        (0.25, 0.25),
        (7, 7),
        ("100%", 1.0),
        ("12.5%", 0.125),
        ("1 batch", 1),
        ("20 batches", 20),
        (" 50 % ", 0.5),
    ],
)
def test_batch_limits(value: Any, meaning: float) -> None:
    found = batch_limit("limit_val_batches", value)
    assert (found, type(found)) == (meaning, type(meaning))


@pytest.mark.parametrize("value", [-1, 1.5, -0.1, "half", "3", True, [], "10 epochs"])
def test_batch_limits_refused(value: Any) -> None:
    with pytest.raises(th.MisconfigurationException, match="limit_val_batches="):
        batch_limit("limit_val_batches", value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("00:00:01:30", 90), ("02:00:00:00", 172_800), (timedelta(minutes=2), 120), ({"hours": 1}, 3600)],
)
def test_durations(value: Any, seconds: float) -> None:
    found = duration("max_time", value)
    assert found is not None
    assert found.total_seconds() == seconds


@pytest.mark.parametrize("value", ["1:30", "soon", {"fortnights": 1}, 30])
def test_durations_refused(value: Any) -> None:
    with pytest.raises(th.MisconfigurationException, match="max_time="):
        duration("max_time", value)


def test_validation_intervals() -> None:
    assert validation_interval(None, 1) == (1.0, None)
    assert validation_interval(5, None) == (5, None)
    assert validation_interval("25%", 1) == (0.25, None)
    assert validation_interval("3 batches", 1) == (3, None)
    assert validation_interval("00:00:10:00", 1) == (1.0, 600)
    with pytest.raises(th.MisconfigurationException, match="counts batches over epochs"):
        validation_interval(0.5, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_epoch": 3}, r"no argument 'max_epoch'. Did you mean 'max_epochs'"),
        ({"max_epochs": -2}, r"max_epochs=-2 must be an integer of at least -1"),
        ({"max_epochs": 1.5}, r"max_epochs=1.5"),
        ({"max_steps": -2}, r"max_steps=-2"),
        ({"accumulate_grad_batches": 0}, r"accumulate_grad_batches=0"),
        ({"precision": "bf16-mixd"}, r"precision='bf16-mixd' does not exist. Did you mean 'bf16-mixed'"),
        ({"gradient_clip_algorithm": "nrom"}, r"Did you mean 'norm'"),
        ({"accelerator": "cdua"}, r"accelerator='cdua' does not exist"),
        ({"accelerator": "gpu"}, r"accelerator='gpu', but this machine has none"),
        ({"strategy": "dpp"}, r"strategy='dpp' does not exist. Did you mean 'ddp'"),
        ({"strategy": "deepspeed"}, r"'deepspeed' is not supported: .*'fsdp'"),
        ({"strategy": "fdsp"}, r"strategy='fdsp' does not exist. Did you mean 'fsdp'"),
        ({"accelerator": "xla"}, r"'xla': torch_xla has ended; use 'tpu', by the package torch-tpu"),
        ({"strategy": "xla"}, r"'xla' is not supported: .*use 'ddp'"),
        ({"model_registry": "a/b"}, r"no argument 'model_registry': .*pass a path as ckpt_path"),
        ({"devices": 0}, r"devices=0 leaves no device"),
        ({"num_nodes": 2}, r"num_nodes=2, but nobody says how many processes a node has"),
        ({"num_nodes": 2, "devices": 1}, r"num_nodes=2 without MASTER_ADDR and NODE_RANK"),
        ({"num_nodes": 0}, r"num_nodes=0 must be an integer of at least 1"),
        ({"check_val_every_n_epoch": 0}, r"check_val_every_n_epoch=0"),
        ({"num_sanity_val_steps": -2}, r"num_sanity_val_steps=-2"),
        ({"fast_dev_run": -1}, r"fast_dev_run=-1"),
        ({"fast_dev_run": 1.5}, r"fast_dev_run=1.5 must be an integer"),
        ({"fast_dev_run": "yes"}, r"fast_dev_run='yes' must be an integer"),
        ({"val_check_interval": 0}, r"val_check_interval=0 is no interval; give a number of batches from 1"),
        ({"val_check_interval": "0 batches"}, r"val_check_interval=0 is no interval"),
        ({"val_check_interval": 1.5}, r"val_check_interval=1.5 is out of range"),
        ({"val_check_interval": -1}, r"val_check_interval=-1 is out of range"),
        ({"val_check_interval": "often"}, r"val_check_interval='often' is no duration"),
        ({"check_val_every_n_epoch": None}, r"val_check_interval=1.0 is a share of an epoch"),
        ({"min_epochs": -1}, r"min_epochs=-1"),
        ({"min_steps": 1.5}, r"min_steps=1.5"),
        ({"log_every_n_steps": -1}, r"log_every_n_steps=-1"),
        ({"reload_dataloaders_every_n_epochs": -1}, r"reload_dataloaders_every_n_epochs=-1"),
        ({"reload_dataloaders_every_n_epochs": 0.5}, r"reload_dataloaders_every_n_epochs=0.5"),
        ({"overfit_batches": 1.5}, r"overfit_batches=1.5"),
        ({"limit_predict_batches": -1}, r"limit_predict_batches=-1"),
        ({"max_time": 60}, r"max_time=60 is no duration"),
        ({"devices": []}, r"devices=\[\] leaves no device"),
        ({"devices": "0"}, r"devices='0' leaves no device"),
        ({"callbacks": [object()]}, r"is no Callback"),
        ({"enable_progress_bar": "no"}, r"enable_progress_bar='no' must be True or False or None"),
        ({"enable_checkpointing": 2}, r"enable_checkpointing=2 must be True or False or None"),
        ({"inference_mode": None}, r"inference_mode=None must be True or False$"),
        ({"sync_batchnorm": "false"}, r"sync_batchnorm='false' must be True or False"),
        ({"benchmark": "fast"}, r"benchmark='fast' must be True or False"),
        ({"callbacks": object()}, r"is no Callback"),
        ({"callbacks": th.callbacks.ModelSummary}, r"got the class ModelSummary; pass an instance: ModelSummary\(\)"),
        ({"logger": "tensorboard"}, r"logger='tensorboard' is no logger; pass an instance: .*TensorBoardLogger"),
        ({"logger": th.loggers.CSVLogger}, r"logger=...\) got the class CSVLogger; pass an instance: CSVLogger\(\)"),
        ({"logger": [th.loggers.CSVLogger]}, r"got the class CSVLogger; pass an instance"),
        ({"logger": [True]}, r"logger=True is no logger"),
        ({"deterministic": "always"}, r"deterministic='always'"),
        ({"barebones": True, "logger": True}, r"barebones=True switches off logger"),
        ({"barebones": True, "detect_anomaly": True}, r"cannot be combined with detect_anomaly"),
        ({"profiler": "smple"}, r"profiler='smple'"),
        ({"plugins": [object()]}, r"is no plugin; pass a Precision"),
    ],
)
def test_refused(arguments: dict[str, Any], message: str) -> None:
    quiet = {k: v for k, v in QUIET.items() if k not in arguments and "barebones" not in arguments}
    with pytest.raises(th.MisconfigurationException, match=message):
        th.Trainer(**quiet, **arguments)


@pytest.mark.parametrize("value", ["1", True, [1.0]])
def test_a_clip_value_must_be_a_number(value: Any) -> None:
    with pytest.raises(TypeError, match=r"gradient_clip_val=.* must be a number"):
        th.Trainer(**QUIET, gradient_clip_val=value)


def test_arguments_have_names() -> None:
    with pytest.raises(TypeError, match="positional"):
        th.Trainer("cpu")  # type: ignore[misc]  # on purpose


def test_an_unknown_argument_is_a_type_error_too() -> None:
    with pytest.raises(TypeError, match="no argument 'gpus'"):
        th.Trainer(**QUIET, gpus=1)


@pytest.mark.parametrize(
    ("name", "successor"),
    [
        ("resume_from_checkpoint", "use Trainer.fit(ckpt_path=)"),
        ("gpus", "use devices=, with accelerator='gpu'"),
        ("val_percent_check", "use limit_val_batches="),
        ("log_gpu_memory", "nothing here logs the memory of GPUs; log torch.cuda.max_memory_allocated() yourself"),
    ],
)
def test_an_argument_of_lightning_1(name: str, successor: str) -> None:
    with pytest.raises(th.MisconfigurationException) as caught:
        th.Trainer(**QUIET, **{name: 1})
    assert str(caught.value) == f"Trainer has no argument {name!r}, which Lightning 1.x had: {successor}"


def _owner(path: str) -> Callable[..., Any]:
    homes = (th.callbacks, th.loggers, th)
    if "." not in path:
        return next(getattr(home, path) for home in homes if hasattr(home, path))
    home, _, name = path.rpartition(".")
    found: Any = th.Trainer if home == "Trainer" else importlib.import_module(home)
    return cast("Callable[..., Any]", getattr(found, name))


@pytest.mark.parametrize("name", SUCCESSORS)
def test_a_successor_exists_and_the_old_name_does_not(name: str) -> None:
    """``f(x=)`` takes x, and a bare ``x=`` is an argument of Trainer."""
    text, trainers = SUCCESSORS[name], inspect.signature(th.Trainer).parameters
    assert name not in trainers
    for path, argument in re.findall(r"([\w.]+)\((?:self, )?(\w+)=", text):
        assert argument in inspect.signature(_owner(path)).parameters, (path, argument)
    assert set(re.findall(r"(?<![(\w])(?<!self, )(\w+)=", text)) <= set(trainers)
    assert all(hasattr(th.LightningModule(), attribute) for attribute in re.findall(r"self\.(\w+)", text))


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Literals are read as such; what is passed wins."""
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "7")
    monkeypatch.setenv("PL_TRAINER_PRECISION", "bf16-mixed")
    monkeypatch.setenv("PL_TRAINER_LIMIT_VAL_BATCHES", "0.5")
    trainer = th.Trainer(**QUIET)
    assert (trainer.max_epochs, trainer.precision, trainer.limit_val_batches) == (7, "bf16-mixed", 0.5)
    assert th.Trainer(**QUIET, max_epochs=2).max_epochs == 2


def test_a_variable_that_names_no_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCS", "3")
    with pytest.warns(UserWarning, match=r"PL_TRAINER_MAX_EPOCS='3' .* Did you mean 'PL_TRAINER_MAX_EPOCHS'"):
        th.Trainer(**QUIET)
    monkeypatch.delenv("PL_TRAINER_MAX_EPOCS")
    monkeypatch.setenv("PL_TRAINER_GPUS", "1")
    with pytest.warns(UserWarning, match=r"PL_TRAINER_GPUS='1' names no .* no effect: use devices=, with accelerator="):
        th.Trainer(**QUIET)


@pytest.mark.parametrize(("value", "bars"), [("0", 0), ("False", 0), ("1", 1)])
def test_switches_from_the_environment(monkeypatch: pytest.MonkeyPatch, value: str, bars: int) -> None:
    monkeypatch.setenv("PL_TRAINER_ENABLE_PROGRESS_BAR", value)
    made = th.Trainer(**{name: given for name, given in QUIET.items() if name != "enable_progress_bar"})
    assert len(made.callbacks) == bars


@pytest.mark.parametrize(
    ("arguments", "batches"),
    [
        ({}, (5, [2])),
        ({"limit_train_batches": 1}, (1, [2])),
        ({"limit_train_batches": 1.0}, (5, [2])),
        ({"limit_train_batches": 0.5}, (2, [2])),
        ({"limit_train_batches": 99, "limit_val_batches": 1}, (5, [1])),
        ({"limit_val_batches": "50%"}, (5, [1])),
        ({"fast_dev_run": 2}, (2, [2])),
        ({"fast_dev_run": True}, (1, [1])),
    ],
)
def test_limits_in_effect(arguments: dict[str, Any], batches: tuple[int, list[int]]) -> None:
    trainer = th.Trainer(**QUIET, **{"max_epochs": 1, **arguments})
    trainer.fit(Net(normalise=False), shuffled(), in_order())
    assert (trainer.num_training_batches, trainer.num_val_batches) == batches


def test_a_share_that_is_no_batch() -> None:
    trainer = th.Trainer(**QUIET, max_epochs=1, limit_train_batches=0.1)
    with pytest.raises(
        th.MisconfigurationException, match=r"limit_train_batches=0.1 of 5 batches is less than one batch"
    ):
        trainer.fit(Net(), shuffled(), in_order())


def test_a_share_of_the_unknown() -> None:
    class Endless:
        def __iter__(self) -> Any:
            return iter(shuffled())

    trainer = th.Trainer(**QUIET, max_epochs=1, limit_train_batches=0.5)
    with pytest.raises(th.MisconfigurationException, match="the loader has no length"):
        trainer.fit(Net(), Endless(), in_order())
    trainer = th.Trainer(**QUIET, max_epochs=1, val_check_interval=0.5)
    with pytest.raises(th.MisconfigurationException, match="the training loader has no length"):
        trainer.fit(Net(), Endless(), in_order())


def test_validating_less_often_than_once_per_epoch() -> None:
    """Counted over epochs, as nothing else can be meant; two ways of counting at once are refused."""
    steps = []

    class Watching(th.Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            steps.append(trainer.global_step)

    arguments = {"val_check_interval": 6, "max_epochs": 4, "num_sanity_val_steps": 0}
    th.Trainer(**QUIET, **arguments, callbacks=[Watching()]).fit(Net(), shuffled(), in_order())
    assert steps == [6, 12, 18]
    trainer = th.Trainer(**QUIET, max_epochs=1, val_check_interval=6, check_val_every_n_epoch=2)
    with pytest.raises(th.MisconfigurationException, match=r"val_check_interval=6 is more than the 5 training batches"):
        trainer.fit(Net(), shuffled(), in_order())


@pytest.mark.parametrize("name", ["gradient_clip_val", "accumulate_grad_batches"])
def test_manual_optimisation_does_it_itself(name: str) -> None:
    net = Net()
    net.automatic_optimization = False
    trainer = th.Trainer(**QUIET, max_epochs=1, **{name: 2})
    with pytest.raises(th.MisconfigurationException, match=f"{name}=2 with manual optimisation"):
        trainer.fit(net, shuffled(), in_order())


@pytest.mark.parametrize("collect", [lambda a, b: {"a": a, "b": b}, lambda a, b: th.CombinedLoader([a, b])])
def test_overfitting_reads_every_loader_in_order(collect: Any) -> None:
    order: list[Any] = []

    class Watching(th.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            parts = list(batch.values()) if isinstance(batch, dict) else batch
            order.append([part[0].sum().item() for part in parts])

    trainer = th.Trainer(**QUIET, overfit_batches=2, max_epochs=2, callbacks=[Watching()])
    with pytest.warns(UserWarning, match="shuffling is switched off"):
        trainer.fit(Net(), collect(shuffled(), in_order(regression(), 8)), in_order())
    assert order[:2] == order[2:]
    first = next(iter(in_order(regression(), 8)))[0].sum().item()
    assert order[0][0] == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"limit_train_batches": 1}, ["Trainer(limit_train_batches=1) means one batch; 1.0 is all of them"]),
        ({"overfit_batches": 1}, ["Trainer(overfit_batches=1) means one batch; 1.0 is all of them"]),
        (
            {"val_check_interval": 1, "limit_test_batches": 1},
            [
                "Trainer(limit_test_batches=1) means one batch; 1.0 is all of them",
                "Trainer(val_check_interval=1) means validation after each batch; 1.0 is once per epoch",
            ],
        ),
        ({"limit_val_batches": 1.0, "limit_test_batches": "1 batch", "limit_predict_batches": 2}, []),
        ({"fast_dev_run": True}, []),
        ({}, []),
    ],
)
def test_what_a_one_was_taken_for(arguments: dict[str, Any], said: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "thunderhead")
    th.Trainer(**{**QUIET, **arguments})
    assert [text for text in caplog.messages if " means " in text] == said


def test_overfitting_limits_dry_runs_too() -> None:
    trainer = th.Trainer(**QUIET, overfit_batches=2, fast_dev_run=1)
    trainer.fit(Net(), in_order(batch_size=8), in_order(batch_size=8))
    assert (trainer.num_training_batches, trainer.num_val_batches, trainer.global_step) == (2, [2], 1)


def test_overfitting_reads_in_order() -> None:
    seen = []

    class Watching(th.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(batch[0].sum().item())

    trainer = th.Trainer(**QUIET, overfit_batches=2, max_epochs=2, callbacks=[Watching()])
    with pytest.warns(UserWarning, match="shuffling is switched off"):
        trainer.fit(Net(), shuffled(), in_order())
    assert seen[:2] == seen[2:]
    assert (trainer.num_training_batches, trainer.num_val_batches) == (2, [2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"devices": 4}, r"devices=4, but the launcher started 1 processes on this node"),
        ({"num_nodes": 2}, r"num_nodes=2, but the launcher started 1"),
    ],
)
def test_what_a_launcher_started_counts(
    arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(th.MisconfigurationException, match=message):
        th.Trainer(**QUIET, **arguments)
    assert th.Trainer(**QUIET, devices=1, num_nodes=1).world_size == 1
