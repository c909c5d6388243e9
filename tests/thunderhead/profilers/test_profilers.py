"""Profilers: what they are told of, and what they make of it."""

from __future__ import annotations

import json
import pickle
import pstats
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_parts import QUIET, CliData, CliModel

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException
from thunderhead.profilers import AdvancedProfiler, PassThroughProfiler, Profiler, PyTorchProfiler, SimpleProfiler


class Told(Profiler):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []
        self.open: list[str] = []
        self.life: list[str] = []

    def start(self, action_name: str) -> None:
        self.begun.append(action_name)
        self.open.append(action_name)

    def stop(self, action_name: str) -> None:
        assert self.open.pop() == action_name, "actions are nested"

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        super().setup(stage, local_rank, log_dir)
        self.life.append(f"setup {stage} {local_rank}")

    def summary(self) -> str:
        self.life.append("summary")
        return ""

    def teardown(self, stage: str | None) -> None:
        self.life.append(f"teardown {stage}")


class Hooked(CliModel):
    """With hooks."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Something of its own."""
        with self.trainer.profiler.profile("my part"):
            pass

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """The same as validation."""
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Any, batch_idx: int) -> int:
        """A number."""
        return batch_idx


class Watch(th.Callback):
    """With one."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Something."""


def trained(profiler: Any, **kwargs: Any) -> th.Trainer:
    trainer = th.Trainer(**{**QUIET, "profiler": profiler, "callbacks": Watch(), **kwargs})
    trainer.fit(Hooked(), datamodule=CliData())
    return trainer


IN_FIT = {
    "run_training_epoch": 2,
    "run_training_batch": 8,
    "[_TrainingEpochLoop].train_dataloader_next": 8,
    "[_EvaluationLoop].val_next": 10,
    "[Strategy]SingleDeviceStrategy.training_step": 8,
    "[Strategy]SingleDeviceStrategy.backward": 8,
    "[Strategy]SingleDeviceStrategy.validation_step": 10,
    "[LightningModule]Hooked.optimizer_step": 8,
    "[LightningModule]Hooked.optimizer_zero_grad": 8,
    "[LightningModule]Hooked.on_train_batch_end": 8,
    "[LightningModule]Hooked.configure_callbacks": 1,
    "[LightningDataModule]CliData.train_dataloader": 1,
    "[LightningDataModule]CliData.val_dataloader": 1,
    "[Callback]Watch.on_train_epoch_start": 2,
    "my part": 8,
}


def test_actions_have_lightnings_names() -> None:
    told = Told()
    trained(told, max_epochs=2)
    counts = {name: told.begun.count(name) for name in IN_FIT}
    wanted = {
        **IN_FIT,
        "[_TrainingEpochLoop].train_dataloader_next": counts["[_TrainingEpochLoop].train_dataloader_next"],
    }
    assert counts["[_TrainingEpochLoop].train_dataloader_next"] in (8, 10)  # the end of a loader may be an action too
    wanted["[_EvaluationLoop].val_next"] = counts["[_EvaluationLoop].val_next"]
    assert counts == wanted
    assert told.life == ["setup fit None", "summary", "teardown fit"]
    assert not told.open


@pytest.mark.parametrize(
    ("entry", "actions"),
    [
        ("validate", ["[_EvaluationLoop].val_next", "[Strategy]SingleDeviceStrategy.validation_step"]),
        ("test", ["[_EvaluationLoop].test_next", "[Strategy]SingleDeviceStrategy.test_step"]),
        ("predict", ["[_PredictionLoop].predict_next", "[Strategy]SingleDeviceStrategy.predict_step"]),
    ],
)
def test_the_other_entry_points(entry: str, actions: list[str]) -> None:
    told = Told()
    getattr(th.Trainer(**QUIET, profiler=told), entry)(Hooked(), CliData().val_dataloader())
    assert set(actions) <= set(told.begun)
    assert told.life[0] == f"setup {entry} None"


def test_a_profiled_run_has_the_bits_of_another() -> None:
    found = []
    for profiler in (None, "simple", "advanced", Told()):
        th.seed_everything(1)
        found.append(trained(profiler, max_epochs=2).lightning_module.state_dict())
    for other in found[1:]:
        assert all(torch.equal(value, other[name]) for name, value in found[0].items())


def test_a_save_is_an_action(tmp_path: Path) -> None:
    told = Told()
    trained(told).save_checkpoint(tmp_path / "x.ckpt")
    assert told.begun[-1] == "save_checkpoint"


def test_there_is_always_one() -> None:
    trainer = trained(None)
    assert type(trainer.profiler) is PassThroughProfiler
    with trainer.profiler.profile("anything") as name:
        assert name == "anything"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("smple", r"profiler='smple'.*simple"),
        ("xla", "XLA is not supported; use profiler='pytorch'"),
        (3, "profiler=3"),
        (SimpleProfiler, r"got the class SimpleProfiler; pass an instance"),
    ],
)
def test_what_is_none_is_refused(given: Any, said: str) -> None:
    with pytest.raises(MisconfigurationException, match=said):
        th.Trainer(**QUIET, profiler=given)


def test_barebones_measures_nothing() -> None:
    with pytest.raises(MisconfigurationException, match="barebones=True cannot be combined with profiler='simple'"):
        th.Trainer(barebones=True, profiler="simple")


class Clock:
    """Ticks."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_simple_sums_up() -> None:
    profiler = SimpleProfiler(clock=Clock())
    for _ in range(2):
        with profiler.profile("outer"), profiler.profile("inner"):
            pass
    assert profiler.recorded_durations == {"outer": [3.0, 3.0], "inner": [1.0, 1.0]}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in profiler.summary().splitlines() if "|" in line]
    assert rows == [
        ["Action", "Mean duration (s)", "Num calls", "Total time (s)", "Percentage %"],
        ["Total", "-", "4", "9.0", "100 %"],
        ["outer", "3.0", "2", "6.0", "66.667"],
        ["inner", "1.0", "2", "2.0", "22.222"],
    ]
    assert "Num calls" not in SimpleProfiler(extended=False).summary()


def test_simple_refuses_what_does_not_pair() -> None:
    profiler = SimpleProfiler()
    profiler.start("a")
    with pytest.raises(ValueError, match="'a' is started twice"):
        profiler.start("a")
    with pytest.raises(ValueError, match="'b' is stopped, but was not started"):
        profiler.stop("b")


def test_reports_go_to_a_file_run_after_run(tmp_path: Path) -> None:
    trainer = trained(SimpleProfiler(tmp_path / "out", "times"))
    trainer.validate(Hooked(), datamodule=CliData(), verbose=False)
    assert "FIT Profiler Report" in (tmp_path / "out/fit-times.txt").read_text()
    assert "VALIDATE Profiler Report" in (tmp_path / "out/validate-times.txt").read_text()
    trainer.profiler.setup("fit")
    trainer.profiler.describe()
    assert (tmp_path / "out/fit-times.txt").read_text().count("Profiler Report") == 2


def test_a_report_without_a_file_is_said(caplog: pytest.LogCaptureFixture) -> None:
    trained("simple")
    assert "[Strategy]SingleDeviceStrategy.training_step" in caplog.text


def _work() -> int:
    return sum(range(10))


def test_advanced_tells_which_functions(tmp_path: Path) -> None:
    profiler = AdvancedProfiler(tmp_path, "deep", dump_stats=True)
    with profiler.profile("outer"):
        with profiler.profile("inner"):
            _work()
        _work()
    summary = profiler.summary()
    assert "Profile stats for: outer" in summary
    for name in ("inner", "outer"):
        stats = pstats.Stats(str(tmp_path / f"deep-{name}.prof"))
        calls = [values[0] for (_, _, function), values in stats.stats.items() if function == "_work"]  # type: ignore[attr-defined]
        assert calls == [1], "the outer action goes on when the inner one has ended"
    with pytest.raises(ValueError, match="'never' is stopped, but was not started"):
        profiler.stop("never")
    assert type(pickle.loads(pickle.dumps(profiler))) is AdvancedProfiler
    profiler.describe()
    assert not profiler.profiled_actions


def test_pytorch_writes_a_trace_and_a_table(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(tmp_path, "torch", activities=[torch.profiler.ProfilerActivity.CPU], row_limit=-1)
    trained(profiler, max_epochs=2)
    table = (tmp_path / "fit-torch.txt").read_text()
    assert "run_training_batch" in table
    (trace,) = tmp_path.glob("*.pt.trace.json")
    names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert "[pl][profile][Strategy]SingleDeviceStrategy.training_step" in names
    assert "[pl][module]torch.nn.modules.linear.Linear: encoder.linear" in names
    assert profiler.profiler is None


def test_pytorch_says_that_shapes_are_not_recorded() -> None:
    with pytest.warns(UserWarning, match="group_by_input_shapes=True.* groups nothing.*pass record_shapes=True too"):
        PyTorchProfiler(group_by_input_shapes=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PyTorchProfiler(group_by_input_shapes=True, record_shapes=True)


def test_pytorch_takes_a_schedule_of_ones_own(tmp_path: Path) -> None:
    seen: list[int] = []

    def schedule(step: int) -> torch.profiler.ProfilerAction:
        seen.append(step)
        return torch.profiler.ProfilerAction.NONE

    trained(PyTorchProfiler(schedule=schedule), max_epochs=1)
    assert max(seen) == 4, "a step is a batch of training, whatever is validated in between"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sort_by_key": "speed"}, "sort_by_key='speed'"),
        ({"record_shape": True}, "no argument 'record_shape'.*Did you mean 'record_shapes'"),
        ({"schedule": lambda step: 3}, "must be a function from the number of a step to a ProfilerAction"),
        ({"table_kwargs": {"row_limit": 3}}, "sort_by_key and row_limit are arguments of their own"),
    ],
)
def test_pytorch_refuses_what_means_nothing(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(MisconfigurationException, match=said):
        PyTorchProfiler(**arguments)
