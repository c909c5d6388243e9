"""WeightAveraging and EMAWeightAveraging: what is averaged when, who sees it, and what checkpoints hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn
from trainer_line import Line, numbers
from trainer_models import QUIET, Net, bits, in_order, shuffled
from trainer_ranks import run_ranks
from trainer_resumes import WAYS, Lost, Resumes

import thunderhead as th
from thunderhead.callbacks import EMAWeightAveraging, ModelCheckpoint, WeightAveraging
from thunderhead.exceptions import MisconfigurationException


class Traced(Net):
    """Keeps its weights after each step, and those it validates with."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.after: list[dict[str, torch.Tensor]] = []
        self.validated: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.after.append(self._now())

    def on_validation_epoch_start(self) -> None:
        if not self.trainer.sanity_checking:
            self.validated.append(self._now())

    def _now(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.state_dict().items()}


def fit(*callbacks: th.Callback, net: Any = None, **options: Any) -> tuple[Any, th.Trainer]:
    th.seed_everything(3, verbose=False)
    net = Traced() if net is None else net
    trainer = th.Trainer(**{**QUIET, "max_epochs": 2, **options}, callbacks=list(callbacks))
    trainer.fit(net, shuffled(), in_order())
    return net, trainer


def by_hand(weights: list[dict[str, torch.Tensor]], every: Callable[[int], bool], **how: Any) -> dict[str, bytes]:
    """What torch's AveragedModel makes of these weights."""
    net = Net()
    averaged = AveragedModel(net, use_buffers=True, **how)
    for step, state in enumerate(weights):
        net.load_state_dict(state)
        if every(step):
            averaged.update_parameters(net)
    return bits(averaged.module)


@pytest.mark.parametrize(
    ("make", "every", "how"),
    [
        (WeightAveraging, lambda step: True, {}),
        (lambda: WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(0.5)), lambda step: True,
         {"multi_avg_fn": get_ema_multi_avg_fn(0.5)}),
        (lambda: EMAWeightAveraging(decay=0.8), lambda step: True, {"avg_fn": get_ema_avg_fn(0.8)}),
        (lambda: EMAWeightAveraging(decay=0.8, update_every_n_steps=3), lambda step: step % 3 == 0,
         {"avg_fn": get_ema_avg_fn(0.8)}),
        (lambda: EMAWeightAveraging(decay=0.8, update_starting_at_step=6), lambda step: step >= 6,
         {"avg_fn": get_ema_avg_fn(0.8)}),
        (lambda: EMAWeightAveraging(decay=0.8, update_every_n_steps=0, update_starting_at_epoch=1),
         lambda step: step == 9, {"avg_fn": get_ema_avg_fn(0.8)}),
    ],
)  # fmt: skip
def test_the_average_is_torchs(make: Any, every: Any, how: dict[str, Any]) -> None:
    net, _ = fit(make())
    expected = by_hand(net.after, every, **how)
    assert bits(net) == expected
    undisturbed, _ = fit()
    assert [bits_of(state) for state in net.after] == [bits_of(state) for state in undisturbed.after]


def bits_of(state: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in state.items()}


def test_validation_sees_the_average_and_training_does_not() -> None:
    net, _ = fit(EMAWeightAveraging(decay=0.5))
    expected = by_hand(net.after[:5], lambda step: True, avg_fn=get_ema_avg_fn(0.5))
    assert bits_of(net.validated[0]) == expected
    assert bits_of(net.validated[0]) != bits_of(net.after[4])


def test_buffers_can_be_left_out() -> None:
    net, _ = fit(WeightAveraging(use_buffers=False))
    assert bits(net)["net.1.running_mean"] == bits_of(net.after[-1])["net.1.running_mean"]


def test_under_accumulation_a_step_counts_once() -> None:
    asked: list[int] = []

    class Noting(WeightAveraging):
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            asked.extend([] if step_idx is None else [step_idx])
            return step_idx is not None

    fit(Noting(), accumulate_grad_batches=2)
    assert asked == [0, 1, 2, 3, 4, 5]


def test_a_file_holds_both(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1)
    net, _ = fit(WeightAveraging(), saver, enable_checkpointing=True)
    content = torch.load(tmp_path / "step=5.ckpt", weights_only=True)
    assert bits_of(content["state_dict"]) == by_hand(net.after[:5], lambda step: True)
    assert bits_of(content["current_model_state"]) == bits_of(net.after[4])
    assert content["averaging_state"] == {"n_averaged": torch.tensor(5)}
    assert content["callbacks"]["WeightAveraging"] == {"latest_update_step": 5}
    assert bits(Net.load_from_checkpoint(tmp_path / "step=5.ckpt")) == bits_of(content["state_dict"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", [1, 5, 7])
@pytest.mark.parametrize(
    "make", [WeightAveraging, lambda: EMAWeightAveraging(decay=0.7, update_every_n_steps=2, update_starting_at_epoch=0)]
)
def test_resumed_to_the_bit(tmp_path: Path, way: str, step: int, make: Any) -> None:
    Resumes(lambda: [make()]).check(tmp_path, step, way)


def test_a_file_of_a_validation_that_failed(tmp_path: Path) -> None:
    """It holds the average as the average, and the validation is run again."""

    class Fails(th.Callback):
        def __init__(self, path: Path) -> None:
            self.path = path

        def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 5:
                trainer.save_checkpoint(self.path)
                raise Lost

    runs = Resumes(lambda: [WeightAveraging()], num_sanity_val_steps=0)
    whole, losses = runs.fit()
    with pytest.raises(Lost):
        runs.fit(Fails(tmp_path / "x.ckpt"))
    resumed, rest = runs.fit(ckpt_path=tmp_path / "x.ckpt")
    assert rest.seen == losses.seen[5:]
    assert bits(resumed.lightning_module) == bits(whole.lightning_module)


def test_a_failed_validation_leaves_the_module_with_its_weights() -> None:
    class Fails(Traced):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if self.trainer.global_step == 5:
                raise Lost

    net = Fails()
    with pytest.raises(Lost):
        fit(WeightAveraging(), net=net)
    assert bits(net) == bits_of(net.after[-1])


def test_other_entry_points_leave_the_module_alone() -> None:
    averaging = WeightAveraging()
    _, trainer = fit(averaging)
    other = Net()
    before = bits(other)
    trainer.validate(other, in_order(), verbose=False)
    assert bits(other) == before


def test_a_module_made_in_configure_model() -> None:
    class Late(Net):
        made = 0

        def configure_model(self) -> None:
            self.made += 1
            self.extra = torch.nn.Linear(1, 1)

    net = Late()
    fit(WeightAveraging(), net=net)
    assert net.made == 1


def test_a_file_without_an_average(tmp_path: Path) -> None:
    _, trainer = fit()
    trainer.save_checkpoint(tmp_path / "plain.ckpt")
    averaging = WeightAveraging()
    later = th.Trainer(**{**QUIET, "max_epochs": 3}, callbacks=averaging)
    with pytest.warns(UserWarning, match="the checkpoint holds no average of WeightAveraging, which was not there"):
        later.fit(Net(), shuffled(), in_order(), ckpt_path=tmp_path / "plain.ckpt")


def test_training_twice_averages_anew() -> None:
    averaging = WeightAveraging()
    trainer = th.Trainer(**{**QUIET, "max_epochs": 1}, callbacks=averaging)
    line = Line()
    trainer.fit(line, numbers(1, 1))
    assert line.weight.item() == -1.5
    trainer.max_epochs = 2
    trainer.fit(line, numbers(1, 1))
    assert line.weight.item() == -3.0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: WeightAveraging(avg_fun=1), "WeightAveraging has no argument 'avg_fun'. Did you mean 'avg_fn'?"),
        (lambda: WeightAveraging(avg_fn=max, multi_avg_fn=max), "WeightAveraging: avg_fn and multi_avg_fn both say"),
        (lambda: EMAWeightAveraging(avg_fn=max), "EMAWeightAveraging: avg_fn follows from decay; use WeightAveraging"),
        (lambda: EMAWeightAveraging(decay=1.5), "EMAWeightAveraging: decay=1.5 must be a number from 0 to 1"),
        (lambda: EMAWeightAveraging(decay=-1), "EMAWeightAveraging: decay=-1 must be a number of at least 0"),
        (lambda: EMAWeightAveraging(update_every_n_steps=-1), "update_every_n_steps=-1 must be an integer of at least"),
        (lambda: EMAWeightAveraging(update_starting_at_step=0.5), "update_starting_at_step=0.5 must be an integer of"),
    ],
)
def test_arguments_that_mean_nothing(make: Any, said: str) -> None:
    with pytest.raises(MisconfigurationException) as caught:
        make()
    assert str(caught.value).startswith(said) or said in str(caught.value)


def on_rank(rank: int, folder: str, *, resume: bool) -> tuple[dict[str, bytes], float]:
    """Each rank averages running statistics of its own."""
    th.seed_everything(3, verbose=False)
    options = {**QUIET, "max_epochs": 2, "strategy": "ddp"}
    saver = ModelCheckpoint(folder, filename="{step}", save_top_k=-1, every_n_train_steps=2)
    trainer = th.Trainer(**{**options, "enable_checkpointing": True}, callbacks=[EMAWeightAveraging(decay=0.5), saver])
    net = Net()
    trainer.fit(net, shuffled(), in_order(), ckpt_path=f"{folder}/step=4.ckpt" if resume else None)
    return bits(net), trainer.callback_metrics["val_loss"].item()


def again_on_rank(rank: int, folder: str) -> tuple[dict[str, bytes], float]:
    return on_rank(rank, folder, resume=True)


def first_on_rank(rank: int, folder: str) -> tuple[dict[str, bytes], float]:
    return on_rank(rank, folder, resume=False)


def test_two_ranks_resume_to_the_bit(tmp_path: Path) -> None:
    whole = run_ranks(first_on_rank, 2, tmp_path, str(tmp_path / "files"))
    again = run_ranks(again_on_rank, 2, tmp_path, str(tmp_path / "files"))
    assert again == whole
    assert whole[0][0] == whole[1][0]


def test_the_next_run_of_another_trainer_begins_anew() -> None:
    callback = EMAWeightAveraging(decay=0.5, update_starting_at_epoch=0)
    fit(callback)
    again, _ = fit(callback)
    alone, _ = fit(EMAWeightAveraging(decay=0.5, update_starting_at_epoch=0))
    assert bits(again) == bits(alone)


def test_the_next_fit_of_this_trainer_updates_after_steps_alone() -> None:
    asked: list[int] = []

    class Asked(WeightAveraging):
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            asked.extend([] if step_idx is None else [step_idx])
            return step_idx is not None

    net, trainer = fit(Asked(), max_epochs=1, accumulate_grad_batches=2)
    assert trainer.max_epochs is not None
    trainer.fit_loop.max_epochs += 1
    trainer.fit(net, shuffled(), in_order())
    assert asked == list(range(trainer.global_step))
