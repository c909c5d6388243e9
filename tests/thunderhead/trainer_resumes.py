"""A run that is interrupted after a step and goes on, from a file or in a job, beside the same run undisturbed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from trainer_job import Losses, MemoryLink, StopAt
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead import job
from thunderhead.callbacks import Callback
from thunderhead.job.errors import Stopped
from thunderhead.job.stop import boundary_tick

WAYS = ("file", "job")


class Lost(Exception):
    """The node is gone."""


class SaveAndDie(Callback):
    """Writes a file after a step, and ends the run there."""

    def __init__(self, path: Path, step: int) -> None:
        self._path, self._step = path, step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self._step:
            trainer.save_checkpoint(self._path)
            raise Lost


class Resumes:
    """One kind of run.

    Args:
        callbacks: makes its callbacks.
        net: makes its module.
        **options: of the Trainer, over two epochs of five steps.
    """

    def __init__(
        self, callbacks: Callable[[], list[Callback]], net: Callable[[], th.LightningModule] = Net, **options: Any
    ) -> None:
        self._callbacks, self._net = callbacks, net
        self._options = {**QUIET, "max_epochs": 2, "log_every_n_steps": 1, **options}

    def fit(self, *others: Callback, ckpt_path: Any = None) -> tuple[th.Trainer, Losses]:
        """Train, as far as it goes."""
        th.seed_everything(1, verbose=False)
        losses = Losses()
        trainer = th.Trainer(**self._options, callbacks=[*self._callbacks(), losses, *others])
        trainer.fit(self._net(), shuffled(), in_order(), ckpt_path=ckpt_path)
        return trainer, losses

    def check(self, folder: Path, step: int, way: str) -> th.Trainer:
        """Interrupted after ``step`` it ends with the bits of the run that was not.

        Returns:
            The Trainer of the run that went on.
        """
        undisturbed, whole = self.fit()
        interrupt = self._by_job if way == "job" else self._by_file
        resumed, rest = interrupt(folder, step)
        assert rest.seen
        assert rest.seen == whole.seen[-len(rest.seen) :], f"losses after step {step}"
        kept, found = (held(trainer, folder / "end.ckpt") for trainer in (undisturbed, resumed))
        assert same(found, kept) == "", f"after step {step}"
        return resumed

    def _by_file(self, folder: Path, step: int) -> tuple[th.Trainer, Losses]:
        path = folder / f"{step}.ckpt"
        try:
            self.fit(SaveAndDie(path, step))
        except Lost:
            return self.fit(ckpt_path=path)
        raise AssertionError(f"there is no step {step}")

    def _by_job(self, folder: Path, step: int) -> tuple[th.Trainer, Losses]:
        places = [folder / f"{number}-{step}" for number in range(2)]
        for place in places:
            place.mkdir()
        first = MemoryLink(places[0], stop=StopAt(boundary_tick(step)))
        try:
            job.attach(first)
            self.fit()
        except Stopped:
            job.attach(MemoryLink(places[1], first.checkpoints.commits))
            return self.fit()
        finally:
            job.attach(None)
        raise AssertionError(f"there is no step {step}")


def held(trainer: th.Trainer, path: Path) -> dict[str, Any]:
    """What a file of this moment says of the run's state."""
    trainer.save_checkpoint(path)
    content = torch.load(path, weights_only=False)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    names = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "current_model_state", "averaging_state")
    return {"metrics": metrics, **{name: content[name] for name in names if name in content}}


def same(one: Any, other: Any, at: str = "") -> str:
    """Where two trees differ in a bit; nothing where they do not."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        equal = one.dtype == other.dtype and one.shape == other.shape
        return "" if equal and one.numpy().tobytes() == other.numpy().tobytes() else f"{at}: {one} {other}"
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{at}: {sorted(map(str, one))} {sorted(map(str, other))}"
        return next((found for key in one if (found := same(one[key], other[key], f"{at}/{key}"))), "")
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return f"{at}: {one} {other}"
        return next(
            (found for i, pair in enumerate(zip(one, other, strict=True)) if (found := same(*pair, f"{at}/{i}"))), ""
        )
    return "" if one == other or (one != one and other != other) else f"{at}: {one!r} {other!r}"
