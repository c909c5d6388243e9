"""Logging metric objects: the step's value is what forward gave, the epoch's is what compute gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor, nn
from trainer_line import Line, numbers, trainer

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException
from thunderhead.results.entry import LogSpec
from thunderhead.results.results import Results


class Average(nn.Module):
    """As much of ``torchmetrics.Metric`` as anyone relies on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._forward_cache: Any = None
        self.total, self.count = torch.zeros(()), 0

    def update(self, values: Tensor) -> None:
        """Accumulate."""
        self.total, self.count = self.total + values.sum(), self.count + len(values)

    def forward(self, values: Tensor) -> Tensor:
        """Accumulate; the value of this batch alone."""
        self.update(values)
        self._forward_cache = values.mean()
        return values.mean()

    def compute(self) -> Tensor:
        """The value of all batches."""
        self.calls.append(f"compute {self.count}")
        return self.total / self.count

    def reset(self) -> None:
        """Start over."""
        if self.count:
            self.calls.append("reset")
        self.total, self.count = torch.zeros(()), 0


class Measured(Line):
    """Averages 1, 2, 6 in batches of 2 and 1 for training, and 4, 6, 5 for validation."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.train_average, self.val_average = Average(), Average()
        self.options = options

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Forward, then log the object."""
        self.train_average(batch[0])
        self.log("train", self.train_average, **self.options)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Update only, then log the object."""
        self.val_average.update(batch[0])
        self.log("val", self.val_average)


class Steps(th.Callback):
    """What callbacks see at each batch's end."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look."""
        self.seen.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def fit(module: Line, **arguments: Any) -> tuple[th.Trainer, list[dict[str, float]]]:
    """Two batches of training, two of validation."""
    steps = Steps()
    made = trainer(steps, **arguments)
    made.fit(module, numbers(1, 2, 6, batch_size=2), numbers(4, 6, 5, batch_size=2))
    return made, steps.seen


@pytest.mark.parametrize(
    ("options", "steps", "after"),
    [
        ({}, [{"train": 1.5}, {"train": 6.0}], {"train": 6.0}),
        ({"on_step": False, "on_epoch": True}, [{}, {}], {"train": 3.0}),
        (
            {"on_epoch": True},
            [{"train": 1.5, "train_step": 1.5}, {"train": 6.0, "train_step": 6.0}],
            {"train": 3.0, "train_step": 6.0, "train_epoch": 3.0},
        ),
    ],
)
def test_values(options: dict[str, Any], steps: list[dict[str, float]], after: dict[str, float]) -> None:
    made, seen = fit(Measured(**options))
    assert seen == steps
    assert {name: value.item() for name, value in made.callback_metrics.items()} == {**after, "val": 5.0}


def test_the_trainer_computes_once_and_resets_after_each_epoch() -> None:
    module = Measured(on_step=False, on_epoch=True)
    fit(module, max_epochs=2)
    assert module.train_average.calls == ["compute 3", "reset"] * 2
    # The sanity check goes over both batches, too.
    assert module.val_average.calls == ["compute 3", "reset"] * 3
    assert (module.train_average.count, module.val_average.count) == (0, 0)


def test_several_validations_in_an_epoch_leave_training_alone() -> None:
    module = Measured(on_step=False, on_epoch=True)
    made, _ = fit(module, val_check_interval=1, num_sanity_val_steps=0)
    assert made.callback_metrics["train"] == 3.0
    assert module.val_average.calls == ["compute 3", "reset"] * 2
    assert module.train_average.calls == ["compute 3", "reset"]


def test_it_can_be_watched() -> None:
    stopping = th.callbacks.EarlyStopping("val", patience=1)
    made = trainer(stopping, max_epochs=9)
    made.fit(Measured(), numbers(1), numbers(4, 6))
    assert (made.current_epoch, stopping.best_score.item()) == (2, 5.0)


def test_a_metric_must_be_found_again() -> None:
    class Loose(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            metric = Average()
            metric(batch[0])
            self.log("loose", metric, metric_attribute=self.attribute)
            return super().training_step(batch, batch_idx)

        attribute: str | None = None

    module = Loose()
    module.known = Average()
    with pytest.raises(MisconfigurationException, match=r"'loose'.*no attribute of Loose; assign it.*\['known'\]"):
        fit(module)
    module.attribute = "known"
    assert fit(module)[0].callback_metrics["loose"] == 6.0


def test_a_metric_that_computes_no_number() -> None:
    class Pair(Average):
        def compute(self) -> Tensor:
            return torch.ones(2)

    module = Measured()
    module.val_average = Pair()
    with pytest.raises(ValueError, match=r"metric logged as 'val' computes tensor\(\[1., 1.\]\)"):
        fit(module)


def test_collections_keep_their_prefix() -> None:
    """A collection's items() leaves its prefix out unless it is asked for."""

    class Collection(nn.ModuleDict):
        keep_base = None

        def items(self, keep_base: bool = True) -> Any:
            return [(name if keep_base else f"my_{name}", metric) for name, metric in super().items()]

    class Collecting(Line):
        def __init__(self) -> None:
            super().__init__()
            self.metrics = Collection({"one": Average(), "two": Average()})

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            for metric in self.metrics.values():
                metric(batch[0])
            self.log_dict(self.metrics, on_step=False, on_epoch=True)  # type: ignore[arg-type]  # has items()
            return super().training_step(batch, batch_idx)

    made, _ = fit(Collecting())
    assert {name: value.item() for name, value in made.callback_metrics.items()} == {"my_one": 3.0, "my_two": 3.0}


@pytest.mark.parametrize("make", [torchmetrics.SumMetric, torchmetrics.CatMetric], ids=["a tensor", "a list"])
def test_a_restored_state_comes_to_the_metrics_device(make: Any) -> None:
    """Files are read on the host; the module, and its metrics with it, has moved to its device by then."""
    levels = {"on_step": False, "on_epoch": True, "prog_bar": False, "logger": True, "enable_graph": False}
    ranks = {"sync_dist": False, "group": None, "rank_zero_only": False}
    loaders = {"dataloader_idx": None, "add_dataloader_idx": True}
    spec = LogSpec(reduction="mean", metric_attribute="metric", **levels, **ranks, **loaders)
    metric, saved = make(), Results(training=True)
    entry = saved.register("training_step", "value", spec, metric)
    metric(torch.tensor(3.0))
    entry.take(metric)  # type: ignore[attr-defined]  # an entry of a metric
    elsewhere = make().to("meta")
    Results(training=True).load_state_dict(saved.state_dict(), {"metric": elsewhere})
    states = [getattr(elsewhere, name) for name in metric._defaults]
    flat = [tensor for state in states for tensor in (state if isinstance(state, list) else [state])]
    assert flat
    assert {tensor.device.type for tensor in flat} == {"meta"}


def test_who_a_restored_value_is_reduced_with_is_for_the_new_run_to_say() -> None:
    """A process group is no plain data, and the ranks may be others; how values add up must be as it was."""
    levels = {"on_step": False, "on_epoch": True, "prog_bar": False, "logger": True, "enable_graph": False}
    others = {"rank_zero_only": False, "dataloader_idx": None, "add_dataloader_idx": True, "metric_attribute": None}
    saved, restored = Results(training=True), Results(training=True)
    spec = LogSpec(reduction="mean", sync_dist=True, group=object(), **levels, **others)
    saved.register("training_step", "value", spec).add(3.0, 2)
    restored.load_state_dict(saved.state_dict(), {})
    with pytest.raises(MisconfigurationException, match="reduction: 'mean' then 'sum'"):
        restored.register("training_step", "value", replace(spec, reduction="sum"))
    again = restored.register("training_step", "value", spec)
    assert (again.spec, again.state()) == (spec, (6.0, 2))


class Shared(Line):
    """One metric in two places, logged by the second of its names."""

    def __init__(self, *places: str) -> None:
        super().__init__()
        average = torchmetrics.MeanMetric()
        for place in places:
            setattr(self, place, average)
        self.last = places[-1]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Only the epoch's mean."""
        metric = getattr(self, self.last)
        metric.update(batch[0])
        self.log("mean", metric, on_step=False, on_epoch=True, metric_attribute=self.last)
        return super().training_step(batch, batch_idx)


def resumed_in_the_midst(tmp_path: Path, written: Shared, read: Shared) -> th.Trainer:
    """Of one epoch of values 1, 2 and 6, after two of which a file was written."""
    file = tmp_path / "a.ckpt"
    save = th.callbacks.LambdaCallback(
        on_train_batch_start=lambda t, m, batch, index: index == 2 and t.save_checkpoint(file)
    )
    trainer(save).fit(written, numbers(1, 2, 6))
    made = trainer()
    made.fit(read, numbers(1, 2, 6), ckpt_path=file)
    return made


def test_a_metric_that_two_parts_share_is_found_again_by_either_name(tmp_path: Path) -> None:
    made = resumed_in_the_midst(tmp_path, Shared("one", "other"), Shared("one", "other"))
    assert made.callback_metrics["mean"] == 3.0


def test_a_metric_that_has_lost_its_name_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="the metric 'other', and Shared has no metric of that name"):
        resumed_in_the_midst(tmp_path, Shared("other"), Shared("one"))
