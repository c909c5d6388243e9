"""DeviceStatsMonitor: what is logged when."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from trainer_logging import Records
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.callbacks import DeviceStatsMonitor
from thunderhead.exceptions import MisconfigurationException

STATS = {"cpu_percent": 12.5, "cpu_vm_percent": 40.0, "cpu_swap_percent": 0.0}


@pytest.fixture
def _psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(
        cpu_percent=lambda: 12.5,
        virtual_memory=lambda: SimpleNamespace(percent=40.0),
        swap_memory=lambda: SimpleNamespace(percent=0.0),
    )
    monkeypatch.setitem(sys.modules, "psutil", made)


def logged(callback: th.Callback, *, tests: bool = False, **options: Any) -> list[tuple[int, dict[str, float]]]:
    """The records of ours, of a fit of two epochs of five steps or of a test."""

    class Tested(Net):
        test_step = Net.validation_step

    records = Records()
    arguments = {**QUIET, "max_epochs": 2, "log_every_n_steps": 4, "num_sanity_val_steps": 0, "logger": records}
    trainer = th.Trainer(**{**arguments, **options}, callbacks=callback)
    if tests:
        trainer.test(Tested(), in_order(), verbose=False)
    else:
        trainer.fit(Tested(), shuffled(), in_order())
    return [(step, row) for step, row in records.seen if any("DeviceStats" in name for name in row)]


def named(hook: str, stats: dict[str, float] | None = None) -> dict[str, float]:
    return {f"DeviceStatsMonitor.{hook}/{name}": value for name, value in (stats or STATS).items()}


@pytest.mark.usefixtures("_psutil")
def test_before_and_after_batches_that_are_recorded() -> None:
    found = logged(DeviceStatsMonitor(), limit_val_batches=0)
    assert found == [
        (3, named("on_train_batch_start")),
        (3, named("on_train_batch_end")),
        (7, named("on_train_batch_start")),
        (7, named("on_train_batch_end")),
    ]


@pytest.mark.usefixtures("_psutil")
def test_validation_and_test() -> None:
    found = [row for _, row in logged(DeviceStatsMonitor(), log_every_n_steps=1)]
    assert named("on_validation_batch_start") in found
    assert named("on_validation_batch_end") in found
    rows = [row for _, row in logged(DeviceStatsMonitor(), log_every_n_steps=1, tests=True)]
    assert rows == [named("on_test_batch_start"), named("on_test_batch_end")] * 2


@pytest.mark.usefixtures("_psutil")
@pytest.mark.parametrize(
    ("options", "stats"),
    [({"cpu_stats": True}, STATS), ({"cpu_stats": False}, {}), ({"filter_keys": ["vm"]}, {"cpu_vm_percent": 40.0})],
)
def test_what_is_logged(options: dict[str, Any], stats: dict[str, float]) -> None:
    found = logged(DeviceStatsMonitor(**options), limit_val_batches=0, max_epochs=1)
    assert [row for _, row in found] == (
        [named("on_train_batch_start", stats), named("on_train_batch_end", stats)] if stats else []
    )


def test_without_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(
        MisconfigurationException, match="measured by psutil, which is not installed; pip install psutil"
    ):
        logged(DeviceStatsMonitor())
    assert logged(DeviceStatsMonitor(cpu_stats=False)) == []


def test_without_a_logger() -> None:
    with pytest.raises(MisconfigurationException, match="DeviceStatsMonitor has no logger to write to; give the"):
        th.Trainer(**QUIET, max_epochs=1, callbacks=DeviceStatsMonitor(cpu_stats=False)).fit(Net(), shuffled())
    with pytest.raises(MisconfigurationException, match="DeviceStatsMonitor has no logger to write to; give the"):
        th.Trainer(**QUIET, callbacks=DeviceStatsMonitor(cpu_stats=False)).validate(Net(), in_order())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cpu_stats": "yes"}, "cpu_stats='yes' must be True or False or None"),
        ({"filter_keys": "vm"}, "filter_keys='vm' must be a list of parts of names, or None"),
    ],
)
def test_arguments_that_mean_nothing(options: dict[str, Any], said: str) -> None:
    with pytest.raises(MisconfigurationException, match=said):
        DeviceStatsMonitor(**options)
