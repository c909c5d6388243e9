"""What a Trainer that was used before does next, however that run ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from trainer_logging import Records
from trainer_models import QUIET

import thunderhead as th
from thunderhead.callbacks import Callback, ModelCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore:training begins with 1 modules in evaluation mode .frozen")
SAMPLES, BATCH = 12, 2


def numbers(first: int = 0, count: int = SAMPLES, *, shuffle: bool = False) -> DataLoader[Any]:
    """Batches of two numbers each."""
    return DataLoader(TensorDataset(torch.arange(first, first + count).float()[:, None]), BATCH, shuffle=shuffle)


def act(how: str | None) -> None:
    """End the run, as an error or as Ctrl-C."""
    if how == "error":
        raise OSError("the disk is away")
    if how == "Ctrl-C":
        os.kill(os.getpid(), signal.SIGINT)


class Fragile(th.LightningModule):
    """Ends the run once, where it is told to; remembers its samples, and whether its dropout was on.

    Args:
        at: the hook in which, and for hooks of batches at which of them.
        how: by an error, or by Ctrl-C.
    """

    def __init__(self, at: tuple[str, int] = ("never", 0), how: str = "error") -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 1))
        self.frozen = nn.Dropout(0.5).eval()
        self.at, self.how = at, how
        self.samples: list[int] = []
        self.modes: set[tuple[bool, bool]] = set()

    def _may_end(self, hook: str, index: int = 0) -> None:
        if self.at == (hook, index):
            self.at = ("never", 0)
            act(self.how)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self._may_end("training_step", batch_idx)
        self.samples += [int(number) for number in batch[0].flatten()]
        self.modes.add((self.layer[0].training, self.frozen.training))
        return self.layer(batch[0]).square().mean() * 1e-4

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._may_end("sanity check" if self.trainer.sanity_checking else "validation_step", batch_idx)
        self.log("at", float(batch_idx), on_step=True, on_epoch=False)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._may_end("test_step", batch_idx)

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        self._may_end("predict_step", batch_idx)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._may_end("on_train_batch_end", batch_idx)

    def on_train_epoch_end(self) -> None:
        self._may_end("on_train_epoch_end", self.current_epoch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.01)


def trainer(**options: Any) -> th.Trainer:
    return th.Trainer(**{**QUIET, "max_epochs": 2, **options})


def ended(run: Callable[[], Any]) -> None:
    """Run what is to end early."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises((OSError, KeyboardInterrupt)):
            run()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("how", ["error", "Ctrl-C"])
@pytest.mark.parametrize(
    "place", ["training_step", "sanity check", "validation_step", "validate", "test_step", "predict_step"]
)
def test_modes_are_those_of_before(place: str, how: str) -> None:
    model = Fragile(("validation_step" if place == "validate" else place, 0), how)
    used, entry = trainer(), {"validate": "validate", "test_step": "test", "predict_step": "predict"}.get(place)
    ended(lambda: getattr(used, entry)(model, numbers()) if entry else used.fit(model, numbers(), numbers()))
    assert (model.training, model.layer[0].training, model.frozen.training) == (True, True, False)
    trainer(num_sanity_val_steps=0).fit(model, numbers(), numbers())
    assert model.modes == {(True, False)}


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("other", ["same", "module", "loader"])
@pytest.mark.parametrize(("hook", "batch"), [("training_step", 3), ("on_train_batch_end", 1), ("validation_step", 0)])
def test_an_interrupted_epoch_begins_anew(hook: str, batch: int, other: str, shuffle: bool) -> None:
    used, model = trainer(num_sanity_val_steps=0, val_check_interval=4), Fragile((hook, batch))
    ended(lambda: used.fit(model, numbers(shuffle=shuffle), numbers()))
    assert 0 < len(model.samples) < SAMPLES
    steps, model.samples[:] = used.global_step, []
    following = Fragile() if other == "module" else model
    first = 100 if other == "loader" else 0
    used.fit(following, numbers(first, shuffle=shuffle), numbers())
    epochs = [following.samples[:SAMPLES], following.samples[SAMPLES:]]
    assert [sorted(epoch) for epoch in epochs] == [list(range(first, first + SAMPLES))] * 2
    assert (used.current_epoch, used.global_step) == (2, steps + 2 * SAMPLES // BATCH)


def test_an_epoch_of_which_only_hooks_were_left_is_done() -> None:
    used, model = trainer(), Fragile(("on_train_epoch_end", 0))
    ended(lambda: used.fit(model, numbers()))
    used.fit(model, numbers())
    assert (sorted(model.samples), used.current_epoch) == (sorted([*range(SAMPLES)] * 2), 2)


class Saving(Callback):
    """Writes a file as training begins, in every fit but the first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_epoch_end", "validation_step"])
def test_a_file_written_before_the_first_batch_is_of_that_moment(tmp_path: Path, hook: str) -> None:
    used, model = trainer(num_sanity_val_steps=0, callbacks=[Saving(tmp_path / "a.ckpt")]), Fragile((hook, 0))
    ended(lambda: used.fit(model, numbers(), numbers()))
    epoch, steps = int(hook == "on_train_epoch_end"), used.global_step
    used.fit(model, numbers(), numbers())
    position = torch.load(tmp_path / "a.ckpt", weights_only=True)["thunderhead"]["position"]
    assert (position["epoch"], position["batch"], position["step"], position["next"]) == (epoch, 0, steps, "epoch")


def test_what_a_resume_left_is_forgotten_with_it(tmp_path: Path) -> None:
    class Half(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:
                trainer.save_checkpoint(tmp_path / "half.ckpt")

    trainer(callbacks=[Half()], max_epochs=1).fit(Fragile(), numbers())

    class Lost(Fragile):
        def train_dataloader(self) -> Any:
            act("error")

    used = trainer(max_epochs=1)
    ended(lambda: used.fit(Lost(), ckpt_path=tmp_path / "half.ckpt"))
    model = Fragile()
    used.fit(model, numbers(50))
    assert model.samples == list(range(50, 50 + SAMPLES))


def test_the_x_axis_of_validation_goes_on_with_or_without_a_sanity_check() -> None:
    for sanity in (0, 2):
        records = Records()
        used = trainer(max_epochs=1, num_sanity_val_steps=sanity, logger=records, log_every_n_steps=1)
        for last in (1, 2):
            used.max_epochs = last
            used.fit(Fragile(), numbers(), numbers(count=4))
        assert [step for step, values in records.seen if "at" in values] == [0, 1, 2, 3]


def test_a_save_that_was_put_off_is_not_made_in_the_next_fit(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    options = {**QUIET, "enable_checkpointing": None, "num_sanity_val_steps": 0, "callbacks": [saver]}
    used = th.Trainer(**options, max_epochs=1, val_check_interval=2)
    ended(lambda: used.fit(Fragile(("validation_step", 0)), numbers(), numbers()))
    used.val_check_interval = 3
    used.limit_train_batches = 3
    used.fit(Fragile(), numbers(), numbers())
    assert sorted(os.listdir(tmp_path)) == ["step=4.ckpt"]
