"""StochasticWeightAveraging: the rate it goes to, what it averages, and the epoch that only looks on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from trainer_models import QUIET, Net, bits, in_order, shuffled
from trainer_ranks import run_ranks
from trainer_resumes import WAYS, Lost, Resumes

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint, StochasticWeightAveraging
from thunderhead.exceptions import MisconfigurationException

quiet = pytest.mark.filterwarnings("ignore:StochasticWeightAveraging steps once per epoch")


class Traced(Net):
    """Keeps its weights at each epoch's start, its rates, and what it was fed."""

    def __init__(self, scheduler: str = "epoch", normalise: bool = True) -> None:
        super().__init__(scheduler=scheduler, normalise=normalise)
        self.starts: list[dict[str, torch.Tensor]] = []
        self.rates: list[float] = []
        self.steps: list[tuple[int, int]] = []
        self.batches: list[torch.Tensor] = []

    def on_train_epoch_start(self) -> None:
        self.starts.append({name: value.detach().clone() for name, value in self.state_dict().items()})

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.steps.append((self.trainer.current_epoch, self.trainer.global_step))
        self.batches.append(batch[0])
        return super().training_step(batch, batch_idx)


def fit(callback: th.Callback, net: Any = None, **options: Any) -> tuple[Any, th.Trainer]:
    th.seed_everything(3, verbose=False)
    net = Traced() if net is None else net
    trainer = th.Trainer(**{**QUIET, "max_epochs": 4, **options}, callbacks=callback)
    trainer.fit(net, shuffled(), in_order())
    return net, trainer


def averaged(states: list[dict[str, torch.Tensor]], net: Net) -> AveragedModel:
    """What torch makes of these weights."""
    model = AveragedModel(net)
    for state in states:
        net.load_state_dict(state)
        model.update_parameters(net)
    return model


def test_the_weights_are_the_mean_over_epochs() -> None:
    net, trainer = fit(StochasticWeightAveraging(0.02, swa_epoch_start=2), Traced(normalise=False))
    expected = averaged(net.starts[1:], Net(normalise=False))
    assert bits(net) == bits(expected.module)
    assert (trainer.current_epoch, trainer.global_step, trainer.max_epochs) == (4, 20, 4)


def test_statistics_are_those_of_the_averaged_weights() -> None:
    """One epoch more, in which nothing is optimised; the batches are those that torch's update_bn would be given."""
    net, trainer = fit(StochasticWeightAveraging(0.02, swa_epoch_start=2))
    assert (trainer.current_epoch, trainer.global_step, trainer.max_epochs) == (5, 20, 4)
    assert net.steps[20:] == [(4, 20)] * 5
    expected = averaged(net.starts[1:4], Net())
    # Dropout comes after the statistics, so that it does not matter here.
    update_bn([(batch,) for batch in net.batches[20:]], expected.module)
    assert bits(net) == bits(expected.module)
    assert [layer.momentum for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm1d)] == [0.1]
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 2, 10])
def test_the_rate_is_that_of_swalr(strategy: str, epochs: int) -> None:
    net, _ = fit(
        StochasticWeightAveraging(0.02, 2, annealing_epochs=epochs, annealing_strategy=strategy),
        Traced(scheduler="none", normalise=False),
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.05)
    scheduler = SWALR(optimizer, 0.02, epochs, strategy)
    expected = [0.05]
    for _ in range(3):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert net.rates[::5] == expected


@pytest.mark.parametrize(("start", "epochs", "first"), [(0.8, 5, 3), (0.5, 4, 1), (1, 4, 0), (3, 4, 2), (0.0, 4, 0)])
def test_where_it_begins(start: float, epochs: int, first: int) -> None:
    callback = StochasticWeightAveraging(0.02, swa_epoch_start=start)
    fit(callback, Traced(normalise=False), max_epochs=epochs)
    assert callback.swa_start == first
    assert callback.swa_end == epochs - 1
    assert callback.n_averaged is not None
    assert int(callback.n_averaged) == epochs - first


def test_a_scheduler_of_steps_is_told_of() -> None:
    with pytest.warns(UserWarning, match="steps once per epoch: StepLR, which stepped every 1 steps, no longer does"):
        fit(StochasticWeightAveraging(0.02), Traced(scheduler="step", normalise=False))


def test_a_run_without_limit_gets_the_average() -> None:
    net, _ = fit(
        StochasticWeightAveraging(0.02, swa_epoch_start=2), Traced(normalise=False), max_epochs=-1, max_steps=15
    )
    assert bits(net) == bits(averaged(net.starts[1:3], Net(normalise=False)).module)


def test_a_function_of_ones_own() -> None:
    net, _ = fit(StochasticWeightAveraging(0.02, 2, avg_fn=lambda average, now, count: now), Traced(normalise=False))
    assert bits(net) == {name: value.numpy().tobytes() for name, value in net.starts[-1].items()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("step", "scheduler"), [(3, "epoch"), (7, "epoch"), (10, "none"), (12, "none")])
def test_resumed_to_the_bit(tmp_path: Path, way: str, step: int, scheduler: str) -> None:
    runs = Resumes(lambda: [StochasticWeightAveraging(0.02, 2)], lambda: Net(scheduler=scheduler), max_epochs=3)
    runs.check(tmp_path, step, way)


@pytest.mark.parametrize("batch", [0, 2, 4])
def test_resumed_while_it_looks_on(tmp_path: Path, batch: int) -> None:
    class Fails(th.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, data: Any, batch_idx: int) -> None:
            if (trainer.current_epoch, batch_idx) == (3, batch):
                trainer.save_checkpoint(tmp_path / "x.ckpt")
                raise Lost

    runs = Resumes(lambda: [StochasticWeightAveraging(0.02, 2)], lambda: Net(scheduler="epoch"), max_epochs=3)
    whole, losses = runs.fit()
    with pytest.raises(Lost):
        runs.fit(Fails())
    resumed, rest = runs.fit(ckpt_path=tmp_path / "x.ckpt")
    assert rest.seen == losses.seen[16 + batch :]
    position = torch.load(tmp_path / "x.ckpt", weights_only=False)["thunderhead"]["position"]
    assert position["stepped"] is False  # so that nothing is logged or scheduled for it
    assert bits(resumed.lightning_module) == bits(whole.lightning_module)
    assert resumed.max_epochs == 3


@pytest.mark.parametrize("options", [{}, {"monitor": "val_loss", "mode": "max"}, {"save_on_train_epoch_end": False}])
def test_the_average_is_saved(tmp_path: Path, options: dict[str, Any]) -> None:
    saver = ModelCheckpoint(tmp_path, save_top_k=5 if "monitor" in options else -1, **options)
    trainer = th.Trainer(
        **{**QUIET, "max_epochs": 3, "enable_checkpointing": True},
        callbacks=[StochasticWeightAveraging(0.02, 2), saver],
    )
    net = Net(scheduler="epoch")
    trainer.fit(net, shuffled(), in_order())
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["epoch=0-step=5.ckpt", "epoch=1-step=10.ckpt", "epoch=2-step=15.ckpt", "epoch=3-step=15.ckpt"]
    assert bits(Net.load_from_checkpoint(tmp_path / names[-1])) == bits(net)


def test_a_run_that_failed_leaves_everything_as_it_was() -> None:
    class Fails(Traced):
        def on_train_batch_end(self, *_: Any) -> None:
            if self.trainer.current_epoch == 4:
                raise Lost

    net, callback = Fails(), StochasticWeightAveraging(0.02, 2)
    trainer = th.Trainer(**{**QUIET, "max_epochs": 4}, callbacks=callback)
    with pytest.raises(Lost):
        trainer.fit(net, shuffled())
    assert trainer.max_epochs == 4
    assert [layer.momentum for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm1d)] == [0.1]


class Several(Net):
    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), 0.1) for _ in range(2)]


class Schedulers(Net):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1) for _ in range(2)]


class ByHand(Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


def _manual(net: Net) -> Net:
    net.automatic_optimization = False
    return net


@pytest.mark.parametrize(
    ("make", "net", "options", "said"),
    [
        (lambda: StochasticWeightAveraging(1), Net, {}, "swa_lrs=1 must be a float above 0, or a list of such floats"),
        (lambda: StochasticWeightAveraging([0.1, -1.0]), Net, {}, "swa_lrs=[0.1, -1.0] must be a float above 0"),
        (lambda: StochasticWeightAveraging(0.1, 0), Net, {}, "swa_epoch_start=0 must be a number of an epoch from 1"),
        (lambda: StochasticWeightAveraging(0.1, 1.5), Net, {}, "swa_epoch_start=1.5 must be a number of an epoch"),
        (lambda: StochasticWeightAveraging(0.1, annealing_strategy="sin"), Net, {}, "annealing_strategy='sin' does"),
        (lambda: StochasticWeightAveraging(0.1, annealing_epochs=-1), Net, {}, "annealing_epochs=-1 must be an"),
        (lambda: StochasticWeightAveraging(0.1, avg_fn=3), Net, {}, "avg_fn=3 must be a function"),
        (lambda: StochasticWeightAveraging([0.1, 0.2]), lambda: Net(scheduler="epoch"), {"max_epochs": 1},
         "swa_lrs=[0.1, 0.2] are 2, but AdamW has 1 parameter groups"),
        (lambda: StochasticWeightAveraging(0.1), lambda: _manual(Several()), {},
         "averages what one optimizer trains, but Several.configure_optimizers makes 2; use WeightAveraging"),
        (lambda: StochasticWeightAveraging(0.1), Schedulers, {},
         "takes the place of one scheduler, but Schedulers.configure_optimizers makes 2; use WeightAveraging"),
        (lambda: StochasticWeightAveraging(0.1), Net, {"max_epochs": -1, "max_steps": 2},
         "swa_epoch_start=0.8 is a share of max_epochs=-1; give the number of an epoch"),
        (lambda: StochasticWeightAveraging(0.1), ByHand, {}, "with ByHand, which has BatchNorm and uses manual"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(make: Any, net: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(MisconfigurationException) as caught:
        th.Trainer(**{**QUIET, "max_epochs": 2, **options}, callbacks=make()).fit(net(), shuffled())
    assert said in str(caught.value)


def on_rank(rank: int) -> dict[str, bytes]:
    th.seed_everything(3, verbose=False)
    net = Net(scheduler="epoch")
    trainer = th.Trainer(**{**QUIET, "max_epochs": 3, "strategy": "ddp"}, callbacks=StochasticWeightAveraging(0.02, 2))
    trainer.fit(net, shuffled())
    return bits(net)


def test_two_ranks_end_alike(tmp_path: Path) -> None:
    first, second = run_ranks(on_rank, 2, tmp_path)
    assert first == second
