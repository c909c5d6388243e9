"""What ``self.log`` records, under which names, and who sees it when."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from trainer_logging import Module, Values, fit, plain
from trainer_models import QUIET, regression

import thunderhead as th


@pytest.mark.parametrize(
    ("options", "records", "after"),
    [
        ({}, [(0, {"a": 1.0}), (1, {"a": 2.0}), (2, {"a": 3.0})], {"a": 3.0}),
        ({"on_step": False, "on_epoch": True}, [(2, {"a": 1.8})], {"a": 1.8}),
        (
            {"on_step": True, "on_epoch": True},
            [(0, {"a_step": 1.0}), (1, {"a_step": 2.0}), (2, {"a_step": 3.0}), (2, {"a_epoch": 1.8})],
            {"a": 1.8, "a_step": 3.0, "a_epoch": 1.8},
        ),
        ({"on_step": False, "on_epoch": True, "reduce_fx": "sum"}, [(2, {"a": 6.0})], {"a": 6.0}),
        ({"on_step": False, "on_epoch": True, "reduce_fx": torch.max}, [(2, {"a": 3.0})], {"a": 3.0}),
        ({"on_step": False, "on_epoch": True, "reduce_fx": min}, [(2, {"a": 1.0})], {"a": 1.0}),
        ({"on_step": False, "on_epoch": True, "batch_size": 5}, [(2, {"a": 2.0})], {"a": 2.0}),
        ({"on_step": False, "on_epoch": True, "logger": False}, [], {"a": 1.8}),
    ],
)
def test_in_training(options: dict[str, Any], records: list[tuple[int, Values]], after: Values) -> None:
    """The mean is weighted by batch size: (8·1 + 8·2 + 4·3) / 20."""
    trainer, seen = fit(
        Module(lambda module, value: module.log("a", torch.tensor(value), **options)), limit_val_batches=0
    )
    assert [(step, {k: v for k, v in values.items() if k != "epoch"}) for step, values in seen] == [
        (step, pytest.approx(values)) for step, values in records
    ]
    assert all(values["epoch"] == 0 for _, values in seen)
    assert plain(trainer.callback_metrics) == pytest.approx(after)


def test_in_validation() -> None:
    """Per epoch by default; step values go to the loggers at once, over their own axis, and never to callbacks."""

    def log(module: Module, value: float) -> None:
        module.log("e", value)
        module.log("s", value, on_step=True, on_epoch=False)
        module.log("f", value, on_step=True, prog_bar=True)

    trainer, seen = fit(Module(val=log))
    assert seen == [
        (0, {"s": 10.0, "f_step": 10.0}),
        (1, {"s": 20.0, "f_step": 20.0}),
        (2, {"e": 14.0, "f_epoch": 14.0, "epoch": 0}),
    ]
    assert plain(trainer.callback_metrics) == {"e": 14.0, "f": 14.0, "f_epoch": 14.0}
    assert trainer.progress_bar_metrics == {"f_step": 20.0, "f_epoch": 14.0}
    assert plain(trainer.logged_metrics) == {"s": 20.0, "f_step": 20.0, "e": 14.0, "f_epoch": 14.0}


def test_several_loaders() -> None:
    def log(module: Module, value: float) -> None:
        module.log("v", value)

    trainer = th.Trainer(**QUIET)
    found = trainer.validate(Module(val=log, loaders=2), verbose=False)
    assert found == [{"v/dataloader_idx_0": 14.0}, {"v/dataloader_idx_1": 15.0}]
    assert plain(trainer.callback_metrics) == {"v/dataloader_idx_0": 14.0, "v/dataloader_idx_1": 15.0}


def test_a_name_without_suffix_belongs_to_one_loader() -> None:
    def log(module: Module, value: float) -> None:
        module.log("v", value, add_dataloader_idx=False)

    with pytest.raises(th.MisconfigurationException, match=r"'v'.*different arguments.*dataloader_idx: 0 then 1"):
        th.Trainer(**QUIET).validate(Module(val=log, loaders=2), verbose=False)


def test_metrics_of_the_epochs_end_are_returned_for_every_loader() -> None:
    class AtEnd(Module):
        def on_test_epoch_end(self) -> None:
            self.log("end", 7.0)

    module = AtEnd(val=lambda module, value: module.log("v", value), loaders=2)
    assert th.Trainer(**QUIET).test(module, verbose=False) == [
        {"v/dataloader_idx_0": 14.0, "end": 7.0},
        {"v/dataloader_idx_1": 15.0, "end": 7.0},
    ]


class Looking(th.Callback):
    """What callbacks see at each hook."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Values]] = []

    def _look(self, hook: str, trainer: th.Trainer) -> None:
        self.seen.append((hook, plain(trainer.callback_metrics)))

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._look(f"start {batch_idx}", trainer)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        self._look("backward", trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._look(f"end {batch_idx}", trainer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._look("validation", trainer)

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self._look("validation batch", trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._look("validated", trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._look("epoch", trainer)


def test_values_are_exact_at_the_moment_they_are_read() -> None:
    """One name in training and validation: each sees what was logged last."""
    module = Module(
        lambda module, value: module.log("x", value, on_step=True, on_epoch=True),
        lambda module, value: module.log("x", value),
    )
    looking = Looking()
    fit(module, looking, val_check_interval=2)
    assert looking.seen == [
        ("start 0", {}),
        ("backward", {"x": 1.0, "x_step": 1.0}),
        ("end 0", {"x": 1.0, "x_step": 1.0}),
        ("start 1", {"x": 1.0, "x_step": 1.0}),
        ("backward", {"x": 2.0, "x_step": 2.0}),
        ("end 1", {"x": 2.0, "x_step": 2.0}),
        ("validation", {"x": 2.0, "x_step": 2.0}),
        ("validation batch", {"x": 2.0, "x_step": 2.0}),
        ("validation batch", {"x": 2.0, "x_step": 2.0}),
        ("validated", {"x": 14.0, "x_step": 2.0}),
        ("start 2", {"x": 2.0, "x_step": 2.0}),
        ("backward", {"x": 3.0, "x_step": 3.0}),
        ("end 2", {"x": 3.0, "x_step": 3.0}),
        ("epoch", {"x": pytest.approx(1.8), "x_step": 3.0, "x_epoch": pytest.approx(1.8)}),
    ]


def test_what_the_module_logs_at_the_epochs_end_is_seen_by_callbacks_that_watch() -> None:
    class AtEnd(Module):
        def on_train_epoch_end(self) -> None:
            self.log("score", float(self.current_epoch))

    stopping = th.callbacks.EarlyStopping("score", patience=1, check_on_train_epoch_end=True)
    trainer, _ = fit(AtEnd(), stopping, max_epochs=9)
    assert trainer.current_epoch == 2
    assert stopping.best_score == 0


@pytest.mark.filterwarnings("ignore:an epoch has 3 training steps")
def test_the_logging_interval_counts_steps() -> None:
    module = Module(lambda module, value: module.log("a", value))
    assert [step for step, _ in fit(module, max_epochs=3, log_every_n_steps=4, limit_val_batches=0)[1]] == [3, 7]
    assert fit(module, max_epochs=3, log_every_n_steps=0, limit_val_batches=0)[1] == []
    accumulated = fit(module, max_epochs=2, accumulate_grad_batches=2, limit_val_batches=0)[1]
    assert [(step, values["a"]) for step, values in accumulated] == [(0, 2.0), (1, 3.0), (2, 2.0), (3, 3.0)]


@pytest.mark.filterwarnings("ignore:an epoch has 3 training steps")
def test_the_step_that_stops_is_recorded_whatever_its_number() -> None:
    class Stopping(Module):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.trainer.should_stop = self.global_step == 5

    def records(**arguments: Any) -> list[int | None]:
        module = Stopping(lambda module, value: module.log("a", value))
        return [step for step, _ in fit(module, max_epochs=9, limit_val_batches=0, **arguments)[1]]

    assert records(log_every_n_steps=4) == [3, 4]
    assert records(log_every_n_steps=0) == []


@pytest.mark.filterwarnings("ignore:an epoch has 3 training steps")
def test_the_interval_is_about_training_only() -> None:
    def log(module: Module, value: float) -> None:
        module.log("v", value, on_step=True, on_epoch=False)

    for every in (0, 50):
        assert fit(Module(log, log), log_every_n_steps=every)[1] == [(0, {"v": 10.0}), (1, {"v": 20.0})]


def test_each_evaluation_loader_has_its_own_axis_that_goes_on() -> None:
    def log(module: Module, value: float) -> None:
        module.log("v", value, on_step=True, on_epoch=False)

    _, seen = fit(Module(val=log, loaders=2), max_epochs=2)
    both = [(0, 10.0, 0), (1, 20.0, 0), (0, 11.0, 1), (1, 21.0, 1)]
    expected = [(step + 2 * epoch, {f"v/dataloader_idx_{i}": v}) for epoch in (0, 1) for step, v, i in both]
    assert seen == expected


def test_what_is_logged_is_a_copy() -> None:
    """Changing the tensor afterwards changes nothing."""

    def log(module: Module, value: float) -> None:
        tensor = torch.tensor(value)
        module.log("a", tensor, on_step=True, on_epoch=True)
        tensor.fill_(99.0)

    trainer, seen = fit(Module(log), limit_val_batches=0)
    assert [values.get("a_step") for _, values in seen] == [1.0, 2.0, 3.0, None]
    assert trainer.callback_metrics["a_epoch"].item() == pytest.approx(1.8)


def test_logging_without_a_logger_is_said_where_it_was_asked_for() -> None:
    module = Module(lambda module, value: module.log("alone", value, logger=True))
    with pytest.warns(UserWarning, match=r"'alone', logger=True\), but no logger is configured"):
        th.Trainer(**QUIET, max_epochs=1).fit(module)


def test_results_need_no_logger_but_leave_out_what_was_kept_from_it() -> None:
    def log(module: Module, value: float) -> None:
        module.log("shown", value)
        module.log("kept", value, logger=False)

    trainer = th.Trainer(**QUIET)
    assert trainer.validate(Module(val=log), verbose=False) == [{"shown": 14.0}]
    assert plain(trainer.callback_metrics) == {"shown": 14.0, "kept": 14.0}


def test_a_metric_called_step_is_the_axis() -> None:
    def log(module: Module, value: float) -> None:
        module.log("step", 100 * value)
        module.log("a", value)

    assert fit(Module(log), limit_val_batches=0)[1] == [(100, {"a": 1.0}), (200, {"a": 2.0}), (300, {"a": 3.0})]


def test_kinds_of_numbers() -> None:
    """Floats keep their bits; doubles stay double; half precision is widened."""
    values = {
        "float": 0.1,
        "single": torch.tensor(0.1),
        "double": torch.tensor(0.1, dtype=torch.float64),
        "half": torch.tensor(0.1, dtype=torch.bfloat16),
        "shaped": torch.tensor([[0.25]]),
        "graph": torch.tensor(0.5, requires_grad=True),
    }

    def log(module: Module, _: float) -> None:
        module.log_dict(values)

    trainer, seen = fit(Module(log), limit_val_batches=0)
    assert seen[0][1]["float"] == 0.1
    assert seen[0][1]["single"] == torch.tensor(0.1).item()
    assert trainer.callback_metrics["double"].dtype == torch.float64
    assert trainer.callback_metrics["half"].dtype == torch.float32
    assert trainer.callback_metrics["shaped"].shape == ()
    assert not trainer.callback_metrics["graph"].requires_grad


def test_integers_are_reduced_as_floats_with_a_word() -> None:
    with pytest.warns(UserWarning, match=r"'counted'.*torch.int64, reduced as a float"):
        trainer, _ = fit(Module(lambda module, value: module.log("counted", torch.tensor(int(value)))))
    assert trainer.callback_metrics["counted"] == 3.0


def test_a_graph_is_kept_on_request() -> None:
    kept = []

    class Keeping(Module):
        def on_after_backward(self) -> None:
            kept.append(self.trainer.callback_metrics["a"].requires_grad)

    fit(Keeping(lambda module, value: module.log("a", module.layer.weight.sum(), enable_graph=True)))
    assert kept == [True] * 3


@pytest.mark.parametrize(("reduction", "expected"), [("mean", math.nan), ("max", math.nan), ("min", math.nan)])
def test_nan_is_not_lost(reduction: str, expected: float) -> None:
    def log(module: Module, value: float) -> None:
        module.log("a", math.nan if value == 2 else value, on_step=False, on_epoch=True, reduce_fx=reduction)

    assert math.isnan(plain(fit(Module(log))[0].callback_metrics)["a"])


def test_batches_without_a_size() -> None:
    class Words(Module):
        def train_dataloader(self) -> Any:
            return DataLoader(["a", "b"], batch_size=None)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("a", 1.0, on_epoch=True)
            return self.layer.weight.sum()

    with pytest.raises(th.MisconfigurationException, match=r"no tensor in a batch of type str.*batch_size="):
        fit(Words())


def test_tensors_that_disagree_on_the_size_are_named() -> None:
    class Ragged(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("a", 1.0, on_epoch=True)
            return self.layer(batch["x"]).mean()

        def train_dataloader(self) -> Any:
            return Once()

    class Once:
        def __iter__(self) -> Any:
            yield {"x": torch.ones(6, 4), "y": torch.ones(5)}

    with pytest.warns(UserWarning, match="differ in their first dimension; taking 6"):
        fit(Ragged())


def test_without_a_trainer_it_only_warns() -> None:
    with pytest.warns(UserWarning, match="self.log in Module does nothing"):
        Module().log("a", 1.0)


def test_barebones_records_nothing() -> None:
    trainer = th.Trainer(accelerator="cpu", barebones=True, max_epochs=1)
    with pytest.warns(UserWarning, match="records nothing with Trainer"):
        trainer.fit(Module(lambda module, value: module.log("a", value)))
    assert trainer.callback_metrics == {}


def test_predict_has_no_metrics() -> None:
    class Logging(Module):
        def predict_step(self, batch: Any, batch_idx: int) -> None:
            self.log("a", 1.0)

        def predict_dataloader(self) -> Any:
            return DataLoader(regression(4))

    with pytest.raises(th.MisconfigurationException, match="cannot be used inside predict_step"):
        th.Trainer(**QUIET).predict(Logging())


def test_several_values_take_the_arguments_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """log_dict has log's arguments under the same names and in the same order, so they can be passed by position."""
    one, several = (list(inspect.signature(of).parameters.values()) for of in (Module.log, Module.log_dict))
    assert [p for p in one[3:] if p.name != "metric_attribute"] == several[2:]
    taken: list[dict[str, Any]] = []
    monkeypatch.setattr(Module, "log", lambda self, name, value, **given: taken.append({name: value, **given}))
    given = {parameter.name: object() for parameter in several[2:]}
    Module().log_dict({"x": 1.0, "y": 2.0}, *given.values())  # type: ignore[arg-type]  # told apart by identity
    assert taken == [{"x": 1.0, **given}, {"y": 2.0, **given}]
