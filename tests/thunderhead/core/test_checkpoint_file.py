"""The ``.ckpt`` file: its keys, what may be in it, and going on from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from trainer_line import Line, fit, numbers, trainer

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException
from thunderhead.files import file

ALWAYS = {"epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops"}
TRAINING = {"callbacks", "optimizer_states", "lr_schedulers"}
OWN = {"thunderhead"}


class Net(Line):
    """With hyperparameters, momentum and a scheduler."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.save_hyperparameters()

    def configure_optimizers(self) -> Any:
        """SGD."""
        optimizer = SGD(self.parameters(), self.hparams.rate, momentum=0.9)
        return [optimizer], [StepLR(optimizer, 1, gamma=0.5)]


class Data(th.LightningDataModule):
    """With hyperparameters and state."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.restored: Any = None

    def train_dataloader(self) -> Any:
        """Numbers from 1 on."""
        return numbers(*range(1, self.hparams.size + 1))

    def state_dict(self) -> dict[str, Any]:
        """Something."""
        return {"seen": 3}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it."""
        self.restored = state


class Counting(th.Callback):
    """With state, and an entry of its own."""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_end(self, *args: Any) -> None:
        """Count."""
        self.batches += 1

    def state_dict(self) -> dict[str, Any]:
        """The count."""
        return {"batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The count."""
        self.batches = state["batches"]

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """An entry."""
        checkpoint["mine"] = torch.arange(3)


def saved(made: th.Trainer, path: Path, **options: Any) -> Any:
    """What a safe reader finds."""
    made.save_checkpoint(path, **options)
    return torch.load(path, weights_only=True)


def test_keys(tmp_path: Path) -> None:
    made = trainer(Counting(), max_epochs=2)
    made.fit(Net(), datamodule=Data(3))
    content = saved(made, tmp_path / "a.ckpt")
    hparams = {"hyper_parameters", "hparams_name", "datamodule_hyper_parameters", "datamodule_hparams_name"}
    assert set(content) == ALWAYS | TRAINING | OWN | hparams | {"mine", Data.__qualname__}
    assert (content["epoch"], content["global_step"]) == (2, 6)
    assert set(content["state_dict"]) == {"weight"}
    assert content["hyper_parameters"] == {"rate": 0.5}
    assert content["datamodule_hyper_parameters"] == {"size": 3}
    assert content["hparams_name"] == content["datamodule_hparams_name"] == "kwargs"
    assert content[Data.__qualname__] == {"seen": 3}
    assert content["callbacks"] == {"Counting": {"batches": 6}}
    assert [list(state) for state in content["optimizer_states"]] == [["state", "param_groups"]]
    assert [state["last_epoch"] for state in content["lr_schedulers"]] == [2]
    assert content["pytorch-lightning_version"].startswith("2.")
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_weights_only(tmp_path: Path) -> None:
    made = trainer(Counting())
    made.fit(Net(), datamodule=Data(3))
    content = saved(made, tmp_path / "a.ckpt", weights_only=True)
    assert set(content) >= ALWAYS
    assert not set(content) & (TRAINING | OWN | {"mine"})
    with pytest.raises(KeyError, match="weights only"):
        trainer().fit(Net(), datamodule=Data(3), ckpt_path=tmp_path / "a.ckpt")


def test_loops(tmp_path: Path) -> None:
    """Progress in Lightning's words, in the middle of the second epoch, accumulating two batches."""

    class Saving(th.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch == 1 and batch_idx == 1:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    made = trainer(Saving(), max_epochs=2, accumulate_grad_batches=2)
    made.fit(Net(), numbers(1, 2, 3, 4))
    loops = torch.load(tmp_path / "a.ckpt", weights_only=True)["loops"]
    assert set(loops) == {"fit_loop", "validate_loop", "test_loop", "predict_loop"}
    loop = loops["fit_loop"]
    batches = loop["epoch_loop.batch_progress"]
    # The batch is not complete before on_train_batch_end is, nor does the x axis of loggers move on.
    assert batches["total"] == {"ready": 6, "started": 6, "processed": 6, "completed": 5}
    assert batches["current"] == {"ready": 2, "started": 2, "processed": 2, "completed": 1}
    assert batches["is_last_batch"] is False
    assert loop["epoch_progress"]["current"] == {"ready": 2, "started": 2, "processed": 1, "completed": 1}
    assert loop["epoch_loop.state_dict"] == {"_batches_that_stepped": 2}
    steps = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
    assert steps["total"] == {"ready": 3, "completed": 3}
    assert steps["current"] == {"ready": 1, "completed": 1}


def test_resuming_at_the_end_of_an_epoch_equals_not_stopping(tmp_path: Path) -> None:
    whole, half, resumed = Net(), Net(), Net()
    fit(whole, 1, 2, 3, max_epochs=2)
    fit(half, 1, 2, 3).save_checkpoint(tmp_path / "a.ckpt")
    counting, made = Counting(), trainer(max_epochs=2)
    made.fit(resumed, numbers(1, 2, 3), ckpt_path=str(tmp_path / "a.ckpt"))
    assert torch.equal(resumed.weight, whole.weight)
    assert resumed.fed == [1, 2, 3]
    assert (made.global_step, made.current_epoch, counting.batches) == (6, 2, 0)


class SavingAt(th.Callback):
    """Saves after a batch of the first epoch."""

    def __init__(self, path: Path, batch: int) -> None:
        self.path, self.batch = path, batch

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save."""
        if trainer.current_epoch == 0 and batch_idx == self.batch:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("ours", [True, False], ids=["our file", "as Lightning writes it"])
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_resuming_inside_an_epoch_equals_not_stopping(tmp_path: Path, batch: int, ours: bool) -> None:
    whole, resumed, path = Net(), Net(), tmp_path / "a.ckpt"
    trainer(SavingAt(path, batch), max_epochs=2).fit(whole, numbers(1, 2, 3))
    if not ours:
        content = torch.load(path, weights_only=True)
        del content["thunderhead"]
        torch.save(content, path)
    made = trainer(max_epochs=2)
    made.fit(resumed, numbers(1, 2, 3), ckpt_path=path)
    assert (made.global_step, made.current_epoch) == (6, 2)
    assert resumed.fed == [*[1, 2, 3][batch + 1 :], 1, 2, 3]
    assert torch.equal(resumed.weight, whole.weight)


def test_state_goes_back_to_its_owners(tmp_path: Path) -> None:
    made = trainer(Counting())
    made.fit(Net(), datamodule=Data(3))
    made.save_checkpoint(tmp_path / "a.ckpt")
    counting, data = Counting(), Data(3)
    made = trainer(counting, max_epochs=2)
    made.fit(Net(), datamodule=data, ckpt_path=tmp_path / "a.ckpt")
    assert counting.batches == 6
    assert data.restored == {"seen": 3}
    assert made.lr_scheduler_configs[0].scheduler.last_epoch == 2

    with pytest.warns(UserWarning, match="state of callbacks that this Trainer does not have: Counting"):
        trainer(max_epochs=2).fit(Net(), numbers(1), ckpt_path=tmp_path / "a.ckpt")


def test_two_callbacks_with_one_key_are_refused() -> None:
    with pytest.raises(RuntimeError, match="several callbacks have the state_key 'Counting'; override state_key"):
        trainer(Counting(), Counting())


def test_hooks_of_the_module_may_change_the_file(tmp_path: Path) -> None:
    class Hooked(Net):
        kept = 0

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["kept"] = 5
            checkpoint["state_dict"] = {"renamed": checkpoint["state_dict"]["weight"]}

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.kept = checkpoint["kept"]
            checkpoint["state_dict"] = {"weight": checkpoint["state_dict"]["renamed"]}

    first, second = Hooked(), Hooked()
    fit(first, 1, 2).save_checkpoint(tmp_path / "a.ckpt")
    trainer().fit(second, numbers(1, 2), ckpt_path=tmp_path / "a.ckpt")
    assert second.kept == 5
    assert torch.equal(first.weight, second.weight)


def test_going_on_from_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    fit(Net(), 1, max_epochs=3).save_checkpoint(path)
    with pytest.raises(MisconfigurationException, match="after 3 epochs, but max_epochs=2; raise it"):
        trainer(max_epochs=2).fit(Net(), numbers(1), ckpt_path=path)
    with pytest.raises(RuntimeError, match="taken with 1 schedulers, but configure_optimizers now makes 0"):
        trainer(max_epochs=4).fit(Line(), numbers(1), ckpt_path=path)

    class Larger(Net):
        def __init__(self) -> None:
            super().__init__()
            self.added = torch.nn.Parameter(torch.ones(1))

    with pytest.raises(RuntimeError, match="added"):
        trainer(max_epochs=4).fit(Larger(), numbers(1), ckpt_path=path)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ("best", ValueError, "needs a ModelCheckpoint"),
        ("nowhere.ckpt", FileNotFoundError, r"'nowhere\.ckpt' does not exist"),
    ],
)
def test_files_that_are_not_there(asked: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trainer().fit(Net(), numbers(1), ckpt_path=asked)


def test_the_last_may_be_missing() -> None:
    module = Net()
    with pytest.warns(UserWarning, match="no last checkpoint; starting fresh"):
        trainer().fit(module, numbers(1, 2), ckpt_path="last")
    assert module.fed == [1, 2]


def test_nothing_to_save_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="pass one to fit first"):
        trainer().save_checkpoint(tmp_path / "a.ckpt")


def test_a_failing_save_is_raised_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fit(Net(), 1)
    made.save_checkpoint(tmp_path / "a.ckpt")
    before = (tmp_path / "a.ckpt").read_bytes()

    def failing(content: Any, stream: Any) -> None:
        stream.write(b"half")
        raise PermissionError("no")

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(PermissionError):
        made.save_checkpoint(tmp_path / "a.ckpt")
    assert (tmp_path / "a.ckpt").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_evaluation_takes_the_weights_only(tmp_path: Path) -> None:
    first = Net()
    fit(first, 1, 2).save_checkpoint(tmp_path / "a.ckpt", weights_only=True)

    class Looking(Net):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("weight", self.weight)

    found = trainer().test(Looking(), numbers(1), ckpt_path=tmp_path / "a.ckpt", verbose=False)
    assert found == [{"weight": first.weight.item()}]


@pytest.mark.parametrize("damaged", [b"", b"epoch: 3, no checkpoint", None], ids=["empty", "text", "cut"])
def test_what_is_no_checkpoint_is_named(tmp_path: Path, damaged: bytes | None) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"weight": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:2000] if damaged is None else damaged)
    with pytest.raises(Exception) as raised:  # noqa: PT011  # torch's choice, which is not ours to test
        file.read(str(path))
    said = [str(raised.value), *getattr(raised.value, "__notes__", [])]
    assert str(path) in "\n".join(said)
