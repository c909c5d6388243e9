"""Steps that take their batches themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_line import Line, numbers, trainer

import thunderhead as th

pytestmark = pytest.mark.filterwarnings("ignore:training_step takes its batches")


class Taking(Line):
    """Takes so many batches per step, in training and in evaluation.

    Attributes:
        seen: value, index and loader of every batch taken in evaluation.
    """

    def __init__(self, each: int = 1) -> None:
        super().__init__()
        self.each = each
        self.indices: list[int] = []
        self.seen: list[Any] = []

    def training_step(self, dataloader_iter: Iterator[Any]) -> Any:
        """The loss of all that was taken."""
        taken = [next(dataloader_iter) for _ in range(self.each)]
        self.fed += [batch[0].item() for batch, _, _ in taken]
        self.indices += [index for _, index, _ in taken]
        return sum((self.weight * batch[0].mean()).sum() for batch, _, _ in taken)

    def validation_step(self, dataloader_iter: Iterator[Any]) -> Any:
        """Note what was taken."""
        for _ in range(self.each):
            batch, index, loader = next(dataloader_iter)
            self.seen.append((batch[0].item(), index, loader))

    test_step = predict_step = validation_step


class Ends(th.Callback):
    """Notes index and batch at each batch's end."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note."""
        self.seen.append((batch[0].item(), trainer.fit_loop.batches_done, trainer.is_last_batch))


def test_one_batch_per_step_is_as_usual() -> None:
    ends, module = Ends(), Taking()
    made = trainer(ends, max_epochs=2, limit_train_batches=3)
    made.fit(module, numbers(1, 2, 3, 4))
    assert module.fed == [1, 2, 3, 1, 2, 3]
    assert module.indices == [0, 1, 2, 0, 1, 2]
    assert ends.seen == [(1, 1, False), (2, 2, False), (3, 3, True)] * 2
    assert (made.global_step, module.weight.item()) == (6, -12)


@pytest.mark.parametrize(("count", "fed", "steps"), [(4, [1, 2, 3, 4], 2), (5, [1, 2, 3, 4], 2)])
def test_several_batches_per_step_are_counted(count: int, fed: list[int], steps: int) -> None:
    """A step that finds too few is not made, and the epoch ends."""
    ends, module = Ends(), Taking(each=2)
    made = trainer(ends)
    made.fit(module, numbers(*range(1, count + 1)))
    assert (module.fed, made.global_step, made.current_epoch) == (fed, steps, 1)
    assert [batch for batch, _, _ in ends.seen] == [2, 4]


def test_loaders_without_a_length() -> None:
    module = Taking()
    trainer().fit(module, ((torch.tensor([float(n)]),) for n in range(3)))
    assert module.fed == [0, 1, 2]


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
@pytest.mark.parametrize("each", [1, 2])
def test_evaluation(method: str, each: int) -> None:
    module, made = Taking(each), trainer(limit_test_batches=2, limit_val_batches=2, limit_predict_batches=2)
    getattr(made, method)(module, [numbers(1, 2, 3), numbers(5, 6)])
    assert module.seen == [(1, 0, 0), (2, 1, 0), (5, 0, 1), (6, 1, 1)]


def test_going_on_inside_an_epoch(tmp_path: Path) -> None:
    class Saving(th.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            if trainer.global_step == 2:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    trainer(Saving()).fit(Taking(), numbers(1, 2, 3, 4))
    module = Taking()
    trainer().fit(module, numbers(1, 2, 3, 4), ckpt_path=tmp_path / "a.ckpt")
    assert (module.fed, module.indices) == ([3, 4], [2, 3])


def test_a_step_that_takes_nothing() -> None:
    class Idle(Line):
        def training_step(self, dataloader_iter: Iterator[Any]) -> Any:
            return self.weight.sum()

    with pytest.raises(RuntimeError, match="took no batch; call next"):
        trainer().fit(Idle(), numbers(1, 2))


def test_values_count_by_the_batch_that_was_taken() -> None:
    class Logging(Taking):
        def training_step(self, dataloader_iter: Iterator[Any]) -> Any:
            batch, _, _ = next(dataloader_iter)
            self.log("trained", batch.float().mean(), on_step=False, on_epoch=True)
            return (self.weight * batch.mean()).sum()

        def validation_step(self, dataloader_iter: Iterator[Any]) -> None:
            batch, _, _ = next(dataloader_iter)
            self.log("seen", batch.float().mean())

    made = trainer()
    batches = [torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[6.0]])]
    made.fit(Logging(), Several(batches), Several(batches))
    assert (made.callback_metrics["trained"], made.callback_metrics["seen"]) == (3.0, 3.0)


class Several:
    """These batches."""

    def __init__(self, batches: list[torch.Tensor]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def test_it_is_said_what_differs() -> None:
    from thunderhead import warning

    warning._said.clear()
    with pytest.warns(UserWarning, match="takes its batches from dataloader_iter"):
        trainer().fit(Taking(), numbers(1))
