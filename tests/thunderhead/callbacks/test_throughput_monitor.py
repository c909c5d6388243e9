"""ThroughputMonitor and Throughput: the rates, by a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from trainer_logging import Records
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.callbacks import ThroughputMonitor
from thunderhead.exceptions import MisconfigurationException
from thunderhead.throughput import Throughput, flops_of, get_available_flops, measure_flops


def filled(**options: Any) -> Throughput:
    made = Throughput(**{"window_size": 3, **options})
    for step in range(1, 5):
        made.update(time=float(step), batches=step, samples=4 * step, lengths=40 * step, flops=100)
    return made


def test_rates_of_one_device() -> None:
    assert filled(available_flops=400.0).compute() == {
        "time": 4.0, "batches": 4, "samples": 16, "lengths": 160,
        "device/batches_per_sec": 1.0, "device/samples_per_sec": 4.0, "device/items_per_sec": 40.0,
        "device/flops_per_sec": 100.0, "device/mfu": 0.25,
    }  # fmt: skip


def test_rates_of_several() -> None:
    found = filled(world_size=2, separator="_", available_flops=400.0).compute()
    assert (found["device_batches_per_sec"], found["batches_per_sec"]) == (1.0, 2.0)
    assert (found["device_samples_per_sec"], found["samples_per_sec"]) == (4.0, 8.0)
    assert (found["device_items_per_sec"], found["items_per_sec"]) == (40.0, 80.0)
    assert (found["device_flops_per_sec"], found["flops_per_sec"], found["device_mfu"]) == (100.0, 200.0, 0.25)


def test_no_rates_before_the_window_is_full() -> None:
    made = Throughput(window_size=3)
    made.update(time=1.0, batches=1, samples=2)
    made.update(time=2.0, batches=2, samples=4)
    assert made.compute() == {"time": 2.0, "batches": 2, "samples": 4}
    made.reset()
    assert made.compute() == {}


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ({"time": 1.0, "batches": 2, "samples": 8}, r"update\(time=1.0\) must be more than 1.0, the one before"),
        ({"time": 2.0, "batches": 2, "samples": 1}, r"update\(samples=1\) must be at least batches=2"),
        ({"time": 2.0, "batches": 2, "samples": 8, "lengths": 4}, r"update\(lengths=4\) must be at least samples=8"),
        ({"time": 2.0, "batches": 2, "samples": 8, "lengths": 9}, "lengths must be given each time or never"),
    ],
)
def test_counters_that_cannot_be(update: dict[str, Any], said: str) -> None:
    made = Throughput()
    made.update(time=1.0, batches=1, samples=4)
    with pytest.raises(ValueError, match=said):
        made.update(**update)


def test_operations_of_a_model() -> None:
    with torch.device("meta"):
        model, x = nn.Linear(32, 8), torch.randn(2, 32)
    forward = measure_flops(model, lambda: model(x))
    assert forward == 2 * 2 * 32 * 8
    assert measure_flops(model, lambda: model(x), lambda y: y.sum()) == 2 * forward


@pytest.mark.parametrize(
    ("name", "dtype", "tf32", "flops"),
    [
        ("NVIDIA H200", torch.bfloat16, False, 989.5e12),
        ("NVIDIA H100 80GB HBM3", torch.float32, True, 494.5e12),
        ("NVIDIA H100 PCIe", torch.float16, False, 756e12),
        ("NVIDIA A100-SXM4-80GB", torch.float32, False, 19.5e12),
        ("NVIDIA L40S", torch.bfloat16, False, 362e12),
        ("NVIDIA L4", torch.bfloat16, False, 121e12),
        ("NVIDIA A10G", torch.float16, False, 70e12),
        ("Tesla T4", torch.bfloat16, False, None),
        ("Tesla T4", torch.float32, True, 8.1e12),
        ("Tesla V100-SXM2-16GB", torch.float16, False, 125e12),
        ("Some GPU", torch.float32, False, None),
        ("NVIDIA A100-SXM4-80GB", torch.complex64, False, None),
    ],
)
def test_what_devices_can_do(name: str, dtype: torch.dtype, tf32: bool, flops: float | None) -> None:
    assert flops_of(name, dtype, tf32=tf32) == flops


def test_a_processor_is_not_known() -> None:
    assert get_available_flops(torch.device("cpu"), torch.float32) is None


class Clock:
    """One second per look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Counted(Net):
    flops_per_batch = 50
    test_step = Net.validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0])


def rows(entry: str = "fit", net: Any = None, **options: Any) -> list[tuple[int, dict[str, float]]]:
    """Our records."""
    records = Records()
    given = {"batch_size_fn": lambda batch: len(batch[0]), **options.pop("monitor", {})}
    monitor = ThroughputMonitor(window_size=2, clock=Clock(), **given)
    arguments = {**QUIET, "max_epochs": 1, "log_every_n_steps": 1, "num_sanity_val_steps": 1, "logger": records}
    trainer = th.Trainer(**{**arguments, **options}, callbacks=monitor)
    net = Counted() if net is None else net
    if entry == "fit":
        trainer.fit(net, shuffled(), in_order())
    else:
        getattr(trainer, entry)(net, in_order())
    return [(step, row) for step, row in records.seen if any("/time" in name for name in row)]


def test_training() -> None:
    found = rows(limit_val_batches=0, monitor={"length_fn": lambda batch: batch[0].numel(), "available_flops": 200.0})
    assert [step for step, _ in found] == [0, 1, 2, 3, 4]
    assert found[0][1] == {"train/time": 1.0, "train/batches": 1, "train/samples": 8, "train/lengths": 32, "epoch": 0}
    assert found[4][1] == {
        "train/time": 5.0, "train/batches": 5, "train/samples": 40, "train/lengths": 160, "epoch": 0,
        "train/device/batches_per_sec": 1.0, "train/device/samples_per_sec": 8.0, "train/device/items_per_sec": 32.0,
        "train/device/flops_per_sec": 50.0, "train/device/mfu": 0.25,
    }  # fmt: skip


def test_time_in_validation_is_no_time_of_training() -> None:
    found = rows(val_check_interval=2)
    times = [row["train/time"] for _, row in found if "train/time" in row]
    assert times == [1.0, 2.0, 3.0, 4.0, 5.0]
    validated = [(step, row["validate/batches"]) for step, row in found if "validate/time" in row]
    assert validated == [(1, 1), (2, 2), (3, 1), (4, 2)]


def test_under_accumulation_once_per_step() -> None:
    found = rows(accumulate_grad_batches=2, limit_val_batches=0)
    assert [row["train/batches"] for _, row in found] == [2, 4, 5]


@pytest.mark.parametrize("entry", ["validate", "test", "predict"])
def test_other_entry_points(entry: str) -> None:
    assert [(step, row[f"{entry}/batches"]) for step, row in rows(entry)] == [(1, 1), (2, 2)]


def test_only_records_that_are_due() -> None:
    assert [step for step, _ in rows(log_every_n_steps=3, limit_val_batches=0)] == [2]


def test_without_flops() -> None:
    with pytest.warns(UserWarning, match="ThroughputMonitor: Net has no flops_per_batch, so neither operations per"):
        found = rows(net=Net(), limit_val_batches=0)
    assert "train/device/flops_per_sec" not in found[-1][1]


@pytest.mark.parametrize(
    ("monitor", "said"),
    [
        ({"batch_size_fn": lambda batch: 0}, "batch_size_fn gave 0 for a batch, .* a number of at least 1"),
        ({"batch_size_fn": lambda batch: "8"}, "batch_size_fn gave '8' for a batch"),
        ({"length_fn": lambda batch: 3}, "length_fn gave 3 for a batch, .* a number of at least 8"),
    ],
)
def test_a_batch_that_cannot_be_counted_is_told_and_left_out(monitor: dict[str, Any], said: str) -> None:
    with pytest.warns(UserWarning, match=f"ThroughputMonitor: {said}"):
        assert rows(limit_val_batches=0, limit_train_batches=4, monitor=monitor) == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ThroughputMonitor(8), "ThroughputMonitor: batch_size_fn=8 must be a function of a batch"),
        (lambda: ThroughputMonitor(len, 8), "ThroughputMonitor: length_fn=8 must be a function of a batch"),
        (lambda: ThroughputMonitor(len, window_size=1), "Throughput: window_size=1 must be an integer of at least 2"),
        (lambda: Throughput(world_size=0), "Throughput: world_size=0 must be an integer of at least 1"),
    ],
)
def test_arguments_that_mean_nothing(make: Any, said: str) -> None:
    with pytest.raises(MisconfigurationException, match=said):
        make()
