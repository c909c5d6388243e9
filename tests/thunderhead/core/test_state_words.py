"""Words of a run's state, of stages and of reductions: as they are compared, printed and spelt."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributed import ReduceOp
from trainer_line import Line, numbers, trainer
from trainer_models import QUIET

import thunderhead as th
from thunderhead.core.state import RunningStage, TrainerFn, TrainerStatus

STAGES = {
    RunningStage.TRAINING: ("train", False, "train"),
    RunningStage.SANITY_CHECKING: ("sanity_check", True, "val"),
    RunningStage.VALIDATING: ("validate", True, "val"),
    RunningStage.TESTING: ("test", True, "test"),
    RunningStage.PREDICTING: ("predict", False, "predict"),
}


@pytest.mark.parametrize("stage", RunningStage)
def test_stages(stage: RunningStage) -> None:
    assert (stage.value, stage.evaluating, stage.dataloader_prefix) == STAGES[stage]
    assert stage == stage.value
    assert f"{stage}" == stage.value


def test_the_state_in_a_run() -> None:
    class Looks(th.Callback):
        seen: Any = None

        def on_train_start(self, trainer: th.Trainer, pl_module: th.LightningModule) -> None:
            state = trainer.state
            self.seen = (state.fn, state.stage, state.status)

    looks = Looks()
    made = th.Trainer(**QUIET, max_epochs=1, callbacks=[looks])
    made.fit(Line(), numbers(1))
    assert looks.seen == ("fit", "train", "running")
    assert [word.value for word in looks.seen] == ["fit", "train", "running"]
    assert looks.seen == (TrainerFn.FITTING, RunningStage.TRAINING, TrainerStatus.RUNNING)
    assert made.state.status.value == "finished"


@pytest.mark.parametrize(
    ("spelt", "value"),
    [
        ("MAX", 2.0),
        ("Mean", 1.0),
        (ReduceOp.MAX, 2.0),
        (ReduceOp.SUM, 3.0),
        (ReduceOp.AVG, 1.0),
        (torch.min, 0.0),
        (sum, 3.0),
    ],
)
def test_a_reduction_may_be_spelt_in_many_ways(spelt: Any, value: float) -> None:
    class Logs(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("seen", float(batch_idx), on_step=False, on_epoch=True, reduce_fx=spelt, sync_dist=True)
            return super().training_step(batch, batch_idx)

    made = trainer()
    made.fit(Logs(), numbers(1, 2, 3))
    assert made.callback_metrics["seen"] == value


@pytest.mark.parametrize("spelt", ["maximum", "max ", ReduceOp.PRODUCT, torch.median, None, 3])
def test_one_that_there_is_not_is_refused(spelt: Any) -> None:
    class Logs(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("seen", 1.0, reduce_fx=spelt)

    with pytest.raises(th.MisconfigurationException, match="is none of mean, sum, min, max"):
        trainer().fit(Logs(), numbers(1))


def test_modules_left_in_evaluation_mode_are_told_of() -> None:
    from thunderhead.warning import PossibleUserWarning

    module = Line()
    module.left = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.ReLU()).eval()
    with pytest.warns(PossibleUserWarning, match=r"training begins with 3 modules in evaluation mode \(left, left\.0"):
        trainer().fit(module, numbers(1))


def test_a_shuffled_validation_loader_is_told_of() -> None:
    from thunderhead.warning import PossibleUserWarning

    loader = torch.utils.data.DataLoader(torch.ones(2, 1), shuffle=True)  # type: ignore[arg-type]  # has a length
    with pytest.warns(PossibleUserWarning, match="the val loader shuffles"):
        trainer().fit(Line(), numbers(1), loader)


def test_an_example_goes_the_way_of_a_batch() -> None:
    """By the datamodule's hooks, where it has them."""

    class Converts(th.LightningDataModule):
        def train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(torch.ones(1, 1, dtype=torch.int64))  # type: ignore[arg-type]

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch.float()

    class Sized(Line):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.example_input_array = torch.ones(2, 1, dtype=torch.int64)

        def forward(self, batch: Any) -> Any:
            return self.layer(batch)

    made = th.Trainer(**{**QUIET, "enable_model_summary": True}, max_epochs=1)
    made.fit(Sized(), datamodule=Converts())
    assert made.state.finished
