"""``trainer.fit_loop`` and its kin: what is read there is so, what is set there takes effect, nothing else is taken."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from trainer_job import MemoryLink
from trainer_models import QUIET

import thunderhead as th
from thunderhead import job
from thunderhead.job.link import CheckpointPolicy
from thunderhead.strategies import DDPStrategy
from thunderhead.trainer.shown_loops import Counts, ShownFitLoop, Tally


def rows(count: int = 4) -> DataLoader[Tensor]:
    return DataLoader(torch.arange(float(count))[:, None])  # type: ignore[arg-type]  # a tensor has a length and items


class Line(th.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None: ...

    def predict_step(self, batch: Tensor, batch_idx: int) -> int:
        return batch_idx

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


# Moments of the second epoch of two, of four batches each, at the third batch where one is in hand: index in the epoch,
# over all; batches ready, started, processed, completed; epochs the same; steps.
MOMENTS = {
    "on_train_start": (-1, -1, (0, 0, 0, 0), (0, 0, 0, 0), 0),
    "on_train_epoch_start": (3, 3, (4, 4, 4, 4), (2, 1, 1, 1), 4),
    "on_train_batch_start": (2, 6, (3, 2, 2, 2), (2, 2, 1, 1), 6),
    "on_before_backward": (2, 6, (3, 3, 2, 2), (2, 2, 1, 1), 6),
    "on_train_batch_end": (2, 6, (3, 3, 3, 2), (2, 2, 1, 1), 7),
    "on_validation_start": (3, 7, (4, 4, 4, 4), (2, 2, 1, 1), 8),
    "on_train_epoch_end": (3, 7, (4, 4, 4, 4), (2, 2, 2, 1), 8),
    "on_fit_end": (3, 7, (4, 4, 4, 4), (2, 2, 2, 2), 8),
}


def counts(found: Counts) -> tuple[int, ...]:
    return (found.ready, found.started, found.processed, found.completed)


@pytest.mark.parametrize("hook", MOMENTS)
def test_how_far_a_fit_is(hook: str) -> None:
    class Looks(th.Callback):
        seen: tuple[Any, ...] = ()

    def look(self: Looks, trainer: th.Trainer, *_: Any) -> None:
        loop, epoch_loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
        if "batch" in hook and "backward" not in hook and _[-1] != 2:
            return
        if hook == "on_before_backward" and trainer.fit_loop.batches_done != 2:
            return
        assert (loop.batch_idx, loop.total_batch_idx) == (epoch_loop.batch_idx, epoch_loop.total_batch_idx)
        steps = epoch_loop.automatic_optimization.optim_progress.optimizer_steps
        assert steps == epoch_loop.global_step == trainer.global_step
        batches, epochs = epoch_loop.batch_progress.current, loop.epoch_progress.current
        self.seen = (loop.batch_idx, loop.total_batch_idx, counts(batches), counts(epochs), steps)

    looks = type("Looks", (Looks,), {hook: look})()
    th.Trainer(**QUIET, max_epochs=2, num_sanity_val_steps=0, callbacks=[looks]).fit(Line(), rows(), rows(2))
    assert looks.seen == MOMENTS[hook]


def raise_by_two(trainer: th.Trainer) -> None:
    trainer.fit_loop.max_epochs += 2


def put_to_four(trainer: th.Trainer) -> None:
    trainer.fit_loop.max_epochs = 4


def limit_steps(trainer: th.Trainer) -> None:
    trainer.fit_loop.max_epochs = -1
    trainer.fit_loop.epoch_loop.max_steps = 9


@pytest.mark.parametrize(
    ("change", "epochs", "steps"), [(raise_by_two, 3, 12), (put_to_four, 4, 16), (limit_steps, 3, 9)]
)
@pytest.mark.parametrize("fitted", [False, True])
def test_limits_that_are_set_there_hold(
    change: Callable[[th.Trainer], None], epochs: int, steps: int, fitted: bool
) -> None:
    trainer, module = th.Trainer(**QUIET, max_epochs=1), Line()
    if fitted:
        trainer.fit(module, rows())
    change(trainer)
    trainer.fit(module, rows())
    assert (trainer.current_epoch, trainer.global_step) == (epochs, steps)
    assert trainer.max_epochs == trainer.fit_loop.max_epochs
    assert trainer.fit_loop.max_steps == trainer.max_steps


def test_the_x_axis_of_loggers_can_be_put() -> None:
    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit_loop.epoch_loop._batches_that_stepped = 30
    trainer.fit(Line(), rows())
    assert trainer.logger_step == trainer.fit_loop.epoch_loop._batches_that_stepped == 34


@pytest.mark.parametrize(
    ("of", "name", "value", "said"),
    [
        (
            lambda t: t.fit_loop,
            "max_epoch",
            3,
            r"trainer\.fit_loop\.max_epoch cannot be set.*what can be set: max_epochs,",
        ),
        (lambda t: t.fit_loop, "epoch_loop", None, "nothing would read it"),
        (lambda t: t.fit_loop.epoch_loop, "batch_idx", 3, r"epoch_loop\.batch_idx cannot be set.*max_steps"),
        (lambda t: t.validate_loop, "verbose", False, "nothing of it can be set"),
    ],
)
def test_what_nobody_reads_cannot_be_set(of: Callable[[th.Trainer], Any], name: str, value: Any, said: str) -> None:
    with pytest.raises(AttributeError, match=said):
        setattr(of(th.Trainer(**QUIET)), name, value)


@pytest.mark.parametrize(("name", "value"), [("max_epochs", -2), ("max_steps", None), ("min_epochs", "two")])
def test_what_means_nothing_is_refused(name: str, value: Any) -> None:
    with pytest.raises(th.MisconfigurationException, match=name):
        setattr(th.Trainer(**QUIET).fit_loop, name, value)


def test_an_attribute_that_there_is_not_is_told_of() -> None:
    with pytest.raises(
        AttributeError, match=r"trainer\.fit_loop has no attribute 'optimizer_loop'; it has .*epoch_loop"
    ):
        _ = th.Trainer(**QUIET).fit_loop.optimizer_loop


def test_before_any_run() -> None:
    trainer = th.Trainer(**QUIET)
    loop = trainer.fit_loop
    assert (loop.max_epochs, loop.min_epochs, loop.max_steps, loop.min_steps) == (None, None, -1, None)
    assert (loop.batch_idx, loop.total_batch_idx, loop.batches_done, loop.is_last_batch) == (-1, -1, 0, False)
    assert loop.epoch_progress == loop.epoch_loop.batch_progress == loop.epoch_loop.val_loop.batch_progress == Tally()
    assert (loop.max_batches, loop._combined_loader, loop._data_source.instance) == (float("inf"), None, None)
    assert not loop._data_source.is_defined()
    for evaluation in (trainer.validate_loop, trainer.test_loop, trainer.predict_loop):
        assert (evaluation.max_batches, evaluation.num_dataloaders, evaluation._has_run) == ([], 0, False)
    assert isinstance(pickle.loads(pickle.dumps(loop)), ShownFitLoop)
    assert copy.deepcopy(loop.epoch_loop.val_loop).max_batches == []


def test_where_loaders_come_from() -> None:
    class Loads(Line):
        def train_dataloader(self) -> Any:
            return rows()

    class Data(th.LightningDataModule):
        def val_dataloader(self) -> Any:
            return rows(2)

    trainer, module, data = th.Trainer(**QUIET, max_epochs=1), Loads(), Data()
    trainer.fit(module, datamodule=data)
    train, val = trainer.fit_loop._data_source, trainer.fit_loop.epoch_loop.val_loop._data_source
    assert (train.instance, train.name, train.is_module(), train.is_defined()) == (
        module,
        "train_dataloader",
        True,
        True,
    )
    assert (val.instance, val.name, len(list(val.dataloader()))) == (data, "val_dataloader", 2)
    given = rows(3)
    trainer.predict(module, given)
    source = trainer.predict_loop._data_source
    assert (source.instance, source.is_module(), source.is_defined()) == (given, False, True)
    assert source.dataloader() is given
    assert (trainer.predict_loop.max_batches, trainer.predict_loop.predictions) == ([3], [[0, 1, 2]])


def test_data_can_be_loaded_ahead() -> None:
    """As callbacks do that need its length before training has begun."""

    class Asks(Line):
        found: float = 0.0

        def configure_optimizers(self) -> Any:
            self.trainer.fit_loop.setup_data()
            self.found = self.trainer.num_training_batches
            assert self.trainer.fit_loop._combined_loader is not None
            return super().configure_optimizers()

    module = Asks()
    th.Trainer(**QUIET, max_epochs=1).fit(module, rows())
    assert module.found == 4


def test_after_a_fit_in_other_processes() -> None:
    """From a process without threads, which a fork would be left without."""
    here = Path(__file__).parent
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # no rank of another test's
    environment = {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, (here, here.parent)))}
    code = f"import {Path(__file__).stem} as tests; tests.fit_in_other_processes()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=100)


def fit_in_other_processes() -> None:
    trainer = th.Trainer(**QUIET, max_epochs=1, strategy=DDPStrategy(start_method="fork"), devices=2)
    trainer.fit(Line(), rows())
    assert (trainer.fit_loop.epoch_progress.current.completed, trainer.fit_loop.max_epochs) == (1, 1)
    assert trainer.fit_loop.epoch_loop.global_step == 2


COUNTED = ("on_train_epoch_start", "on_train_batch_end", "on_validation_end", "on_train_epoch_end")


class Keeps(th.Callback):
    """What the loops count, at every moment of ``COUNTED``."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, Any]] = []


def keep(hook: str) -> Callable[..., None]:
    def kept(self: Keeps, trainer: th.Trainer, *_: Any) -> None:
        if trainer.sanity_checking:
            return
        loop = trainer.fit_loop.epoch_loop
        optimizers = loop.automatic_optimization.optim_progress.optimizer
        progress = (loop.batch_progress, loop.val_loop.batch_progress, trainer.fit_loop.epoch_progress)
        self.seen.append((hook, trainer.global_step, (progress, optimizers, loop.scheduler_progress)))

    return kept


for _hook in COUNTED:
    setattr(Keeps, _hook, keep(_hook))
UNEVEN: dict[str, Any] = {**QUIET, "max_epochs": 3, "num_sanity_val_steps": 1, "val_check_interval": 3}


def after(kept: Keeps, resumed: Keeps) -> list[Any]:
    """What the undisturbed run saw from where the other one began."""
    first = resumed.seen[0][:2]
    return kept.seen[[moment[:2] for moment in kept.seen].index(first) :]


@pytest.mark.filterwarnings("ignore:dirpath changed")
@pytest.mark.parametrize("step", [2, 3, 4, 5])
def test_counters_of_a_run_that_goes_on_from_a_file(tmp_path: Path, step: int) -> None:
    whole, rest = Keeps(), Keeps()

    def saves(folder: str) -> th.Callback:
        return th.callbacks.ModelCheckpoint(tmp_path / folder, "{step}", save_top_k=-1, every_n_train_steps=1)

    options = {**UNEVEN, "enable_checkpointing": True}
    th.Trainer(**options, callbacks=[whole, saves("a")]).fit(Line(), rows(), rows(2))
    again = th.Trainer(**options, callbacks=[rest, saves("b")])
    again.fit(Line(), rows(), rows(2), ckpt_path=tmp_path / "a" / f"step={step}.ckpt")
    assert rest.seen == after(whole, rest)


@pytest.mark.parametrize("step", [2, 3, 4, 5])
def test_counters_of_a_job_that_goes_on(tmp_path: Path, step: int) -> None:
    whole, rest = Keeps(), Keeps()
    first = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=1))
    try:
        job.attach(first)
        th.Trainer(**UNEVEN, callbacks=[whole]).fit(Line(), rows(), rows(2))
        job.attach(MemoryLink(tmp_path, {step: first.checkpoints.commits[step]}))
        th.Trainer(**UNEVEN, callbacks=[rest]).fit(Line(), rows(), rows(2))
    finally:
        job.attach(None)
    assert rest.seen == after(whole, rest)


def test_counters_of_a_run_that_is_given_more_epochs(tmp_path: Path) -> None:
    whole, rest = Keeps(), Keeps()
    th.Trainer(**UNEVEN, callbacks=[whole]).fit(Line(), rows(), rows(2))
    first = th.Trainer(**{**UNEVEN, "max_epochs": 1})
    first.fit(Line(), rows(), rows(2))
    first.save_checkpoint(tmp_path / "first.ckpt")
    th.Trainer(**UNEVEN, callbacks=[rest]).fit(Line(), rows(), rows(2), ckpt_path=tmp_path / "first.ckpt")
    assert rest.seen == after(whole, rest)


# Two validations of two batches in an epoch: at the second batch of each hook, ready, started, processed, completed.
EVALUATED = {
    "on_validation_batch_start": [(2, 1, 1, 1), (4, 3, 3, 3)],
    "on_validation_batch_end": [(2, 2, 2, 1), (4, 4, 4, 3)],
    "on_validation_epoch_end": [(2, 2, 2, 2), (4, 4, 4, 4)],
}


@pytest.mark.parametrize("hook", EVALUATED)
def test_how_far_a_validation_is(hook: str) -> None:
    class Looks(th.Callback):
        def __init__(self) -> None:
            self.seen: list[tuple[int, ...]] = []

    def look(self: Looks, trainer: th.Trainer, *given: Any) -> None:
        if given[-1] != 0 and trainer.current_epoch == 1:  # not at the first batch
            progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            self.seen.append(counts(progress.total))
            assert trainer.batches_evaluated == progress.total.ready
            assert progress.current.ready == 2

    looks = type("Looks", (Looks,), {hook: look})()
    options = {**QUIET, "max_epochs": 2, "val_check_interval": 2, "num_sanity_val_steps": 1}
    th.Trainer(**options, callbacks=[looks]).fit(Line(), rows(), rows(2))
    assert looks.seen == EVALUATED[hook]


@pytest.mark.parametrize(("every", "due"), [(0, []), (1, [1, 2, 3, 4, 5]), (2, [2, 4]), (9, [])])
@pytest.mark.parametrize("fits", [False, True])
def test_every_so_many_batches_of_an_evaluation_are_recorded(every: int, due: list[int], fits: bool) -> None:
    class Looks(th.Callback):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def on_validation_batch_end(self, trainer: th.Trainer, *_: Any) -> None:
            if trainer.records_now:
                self.seen.append(trainer.batches_evaluated)

    looks = Looks()
    trainer = th.Trainer(
        **{**QUIET, "max_epochs": 1, "num_sanity_val_steps": 0, "log_every_n_steps": every}, callbacks=[looks]
    )
    if fits:
        trainer.fit(Line(), rows(), rows(5))
    else:
        trainer.validate(Line(), rows(5), verbose=False)
    assert looks.seen == due
