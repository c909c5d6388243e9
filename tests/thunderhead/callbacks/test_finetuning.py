"""BaseFinetuning and BackboneFinetuning: what is trained when, at which rate, and after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trainer_models import QUIET, Net, bits, shuffled
from trainer_ranks import run_ranks
from trainer_resumes import WAYS, Resumes

import thunderhead as th
from thunderhead.callbacks import BackboneFinetuning, BaseFinetuning
from thunderhead.exceptions import MisconfigurationException


class Backboned(Net):
    """A backbone with BatchNorm below a head."""

    def __init__(self) -> None:
        super().__init__(scheduler="none")
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.net = nn.Sequential(self.backbone, nn.Dropout(0.3), nn.Linear(8, 1))
        self.groups: list[list[tuple[int, float]]] = []

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=0.04)

    def on_train_epoch_start(self) -> None:
        groups = self.trainer.optimizers[0].param_groups
        self.groups.append([(len(group["params"]), group["lr"]) for group in groups])


def fit(callback: th.Callback, net: Any = None, **options: Any) -> Any:
    th.seed_everything(3, verbose=False)
    net = Backboned() if net is None else net
    th.Trainer(**{**QUIET, "max_epochs": 4, **options}, callbacks=callback).fit(net, shuffled())
    return net


def test_the_backbone_is_trained_from_its_epoch_on() -> None:
    before: list[dict[str, bytes]] = []

    class Noting(th.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            before.append(bits(pl_module.backbone))

    th.seed_everything(3, verbose=False)
    net = Backboned()
    trainer = th.Trainer(**{**QUIET, "max_epochs": 3}, callbacks=[BackboneFinetuning(2), Noting()])
    trainer.fit(net, shuffled())
    assert before[0]["0.weight"] == before[1]["0.weight"] == before[2]["0.weight"] != bits(net.backbone)["0.weight"]


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({}, [None, 0.004, 0.008, 0.016]),
        ({"backbone_initial_lr": 0.03}, [None, 0.03, 0.04, 0.04]),
        ({"backbone_initial_lr": 0.03, "should_align": False}, [None, 0.03, 0.06, 0.12]),
        ({"backbone_initial_ratio_lr": 0.5, "lambda_func": lambda epoch: 1.0}, [None, 0.02, 0.02, 0.02]),
        ({"unfreeze_backbone_at_epoch": 0}, [0.004, 0.008, 0.016, 0.032]),
    ],
)
def test_rates(options: dict[str, Any], rates: list[float | None]) -> None:
    net = fit(BackboneFinetuning(**{"unfreeze_backbone_at_epoch": 1, **options}))
    found = [groups[1][1] if len(groups) > 1 else None for groups in net.groups]
    assert found == pytest.approx(rates)


def test_lambda_is_asked_for_the_next_epoch() -> None:
    asked: list[int] = []
    fit(BackboneFinetuning(0, lambda_func=lambda epoch: asked.append(epoch) or 1.0))  # type: ignore[func-returns-value]
    assert asked == [2, 3, 4]


@pytest.mark.parametrize("train_bn", [True, False])
def test_batch_norm_of_the_backbone_is_trained_from_the_start(train_bn: bool) -> None:
    net = fit(BackboneFinetuning(1, train_bn=train_bn), max_epochs=2)
    assert net.groups == [[(4, 0.04)], [(4, 0.04), (2, pytest.approx(0.004))]]


def test_values_that_are_equal_are_not_the_same_parameter() -> None:
    """Lightning compares values, so that a bias of zeros is left out where another one is in the optimizer."""

    class Zeros(Backboned):
        def __init__(self) -> None:
            super().__init__()
            for layer in (self.backbone[0], nn.Linear(4, 8)):
                nn.init.zeros_(layer.bias)
            self.other = nn.Parameter(torch.zeros(8))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) + self.other.sum()

    assert fit(BackboneFinetuning(1), Zeros(), max_epochs=2).groups[1][1][0] == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", [5, 6, 12])
def test_resumed_to_the_bit(tmp_path: Path, way: str, step: int) -> None:
    Resumes(lambda: [BackboneFinetuning(1)], Backboned, max_epochs=3).check(tmp_path, step, way)


class Stages(BaseFinetuning):
    """Layer after layer."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze([pl_module.backbone[0], pl_module.backbone[1]], train_bn=False)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch in (1, 2):
            self.unfreeze_and_add_param_group(pl_module.backbone[2 - epoch], optimizer)


def test_stages_of_ones_own() -> None:
    net = fit(Stages())
    assert [[size for size, _ in groups] for groups in net.groups] == [[2], [2, 2], [2, 2, 2], [2, 2, 2]]
    assert [rate for _, rate in net.groups[-1]] == pytest.approx([0.04, 0.004, 0.004])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", [4, 8, 13])
def test_stages_resumed_to_the_bit(tmp_path: Path, way: str, step: int) -> None:
    Resumes(lambda: [Stages()], Backboned, max_epochs=3).check(tmp_path, step, way)


def test_helpers() -> None:
    net = Backboned()
    layers = net.backbone
    assert BaseFinetuning.flatten_modules(layers) == list(layers)
    assert BaseFinetuning.flatten_modules([layers[0], [layers[1]]]) == [layers[0], layers[1]]
    assert BaseFinetuning.flatten_modules(nn.ModuleDict({"a": layers[0]})) == [layers[0]]
    BaseFinetuning.freeze(layers)
    assert [p.requires_grad for p in layers.parameters()] == [False, False, True, True]
    assert layers[1].track_running_stats
    BaseFinetuning.freeze(layers, train_bn=False)
    assert not layers[1].track_running_stats
    assert len(list(BaseFinetuning.filter_params(layers, requires_grad=False))) == 4
    assert len(list(BaseFinetuning.filter_params(layers, train_bn=False, requires_grad=False))) == 2
    BaseFinetuning.make_trainable(layers)
    assert all(p.requires_grad for p in layers.parameters())
    BaseFinetuning.freeze_module(layers[0])
    assert [p.requires_grad for p in layers.parameters()] == [False, False, True, True]


def test_a_parameter_that_the_optimizer_has() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    BaseFinetuning.freeze(layer)
    with pytest.warns(UserWarning, match="2 parameters to be trained from now on are in a group of SGD already"):
        BaseFinetuning.unfreeze_and_add_param_group(layer, optimizer)
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BackboneFinetuning(-1), "unfreeze_backbone_at_epoch=-1 must be an integer of at least 0"),
        (lambda: BackboneFinetuning(lambda_func=2), "lambda_func=2 must be a function of an epoch"),
        (lambda: BackboneFinetuning(backbone_initial_lr=-0.1), "backbone_initial_lr=-0.1 must be a number of at least"),
        (lambda: BackboneFinetuning(train_bn="no"), "train_bn='no' must be True or False"),
    ],
)
def test_arguments_that_mean_nothing(make: Any, said: str) -> None:
    with pytest.raises(MisconfigurationException) as caught:
        make()
    assert said in str(caught.value)


def test_a_module_without_backbone() -> None:
    with pytest.raises(MisconfigurationException, match="BackboneFinetuning with Net, which has no module 'backbone'"):
        fit(BackboneFinetuning(), Net())


def test_methods_that_are_not_overridden() -> None:
    with pytest.raises(NotImplementedError, match="BaseFinetuning has no freeze_before_training; override it"):
        fit(BaseFinetuning())


def test_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    fit(BackboneFinetuning(1, verbose=True, rounding=3), max_epochs=3)
    said = [record.message for record in caplog.records if "backbone" in record.message]
    assert said == [
        "epoch 1: the backbone's learning rate is 0.004, that of the rest 0.04",
        "epoch 2: the backbone's learning rate is 0.008, that of the rest 0.04",
    ]


def on_rank(rank: int) -> tuple[dict[str, bytes], bool]:
    th.seed_everything(3, verbose=False)
    net = Backboned()
    first = bits(net.backbone)
    trainer = th.Trainer(**{**QUIET, "max_epochs": 3, "strategy": "ddp"}, callbacks=BackboneFinetuning(1))
    trainer.fit(net, shuffled())
    return {name: value for name, value in bits(net).items() if "running" not in name}, bits(net.backbone) != first


def test_ranks_share_the_gradients_of_what_is_thawed(tmp_path: Path) -> None:
    first, second = run_ranks(on_rank, 2, tmp_path)
    assert first == second
    assert first[1]
