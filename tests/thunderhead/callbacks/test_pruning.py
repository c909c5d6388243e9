"""ModelPruning: what is pruned when, what checkpoints hold, and what a resumed run goes on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from trainer_models import QUIET, Net, in_order, shuffled
from trainer_resumes import WAYS, Resumes

import thunderhead as th
from thunderhead.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
    WeightAveraging,
)
from thunderhead.exceptions import MisconfigurationException


def plain() -> Net:
    return Net(scheduler="none")


def fit(callback: ModelPruning, *others: th.Callback, net: Any = None, **options: Any) -> Any:
    th.seed_everything(3, verbose=False)
    net = plain() if net is None else net
    arguments = {**QUIET, "max_epochs": 2, **options}
    val = in_order() if isinstance(net, Net) else None
    th.Trainer(**arguments, callbacks=[callback, *others]).fit(net, shuffled(), val)
    return net


def zeros(net: nn.Module) -> dict[str, int]:
    return {name: int((value == 0).sum()) for name, value in net.named_parameters()}


class Masks(th.Callback):
    """How many values are pruned when an epoch begins."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        masks = [value for name, value in pl_module.named_buffers() if name.endswith("_mask")]
        self.seen.append(sum(int((mask == 0).sum()) for mask in masks))


# 4·8 + 8 + 8 + 8 + 8·1 + 1 values
ALL = 65


def test_a_share_of_what_is_left_at_each_epochs_end() -> None:
    masks = Masks()
    net = fit(ModelPruning("l1_unstructured", amount=0.2, use_lottery_ticket_hypothesis=False), masks, max_epochs=3)
    assert masks.seen == [0, 13, 23]
    assert not [name for name, _ in net.named_buffers() if name.endswith("_mask")]
    assert sum(zeros(net).values()) == 31


@pytest.mark.parametrize(
    ("options", "pruned"),
    [
        ({"parameter_names": ["weight"], "amount": 5}, 5),
        ({"amount": lambda epoch: 10 if epoch == 1 else 0}, 10),
        ({"apply_pruning": lambda epoch: epoch == 0, "amount": 6}, 6),
        ({"apply_pruning": False, "amount": 6}, 0),
        ({"pruning_fn": "random_unstructured", "amount": 7, "apply_pruning": lambda epoch: epoch == 0}, 7),
        ({"pruning_fn": prune.L1Unstructured, "amount": 4, "apply_pruning": lambda epoch: epoch == 0}, 4),
        ({"use_global_unstructured": False, "parameter_names": ["bias"], "amount": 1,
          "apply_pruning": lambda epoch: epoch == 0}, 3),
        ({"amount": 5, "prune_on_train_epoch_end": False, "apply_pruning": lambda epoch: epoch == 0}, 5),
    ],
)  # fmt: skip
def test_how_much(options: dict[str, Any], pruned: int) -> None:
    if "parameter_names" in options and options["amount"] == 5:
        options = {**options, "apply_pruning": lambda epoch: epoch == 0}
    chosen = {"pruning_fn": "l1_unstructured", "use_lottery_ticket_hypothesis": False, **options}
    assert sum(zeros(fit(ModelPruning(**chosen))).values()) == pruned


@pytest.mark.parametrize(("name", "options"), [("ln_structured", {"pruning_norm": 2}), ("random_structured", {})])
def test_structures(name: str, options: dict[str, Any]) -> None:
    net = plain()
    callback = ModelPruning(
        name, [(net.net[0], "weight")], use_global_unstructured=False, amount=2, pruning_dim=0,
        use_lottery_ticket_hypothesis=False, apply_pruning=lambda epoch: epoch == 0, **options,
    )  # fmt: skip
    fit(callback, net=net)
    assert int((net.net[0].weight == 0).all(dim=1).sum()) == 2


def test_the_lottery_ticket_gives_back_what_it_began_with() -> None:
    class Ends(th.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            found.append(pl_module.net[0].weight_orig.detach().clone())

    found: list[torch.Tensor] = []
    th.seed_everything(3, verbose=False)
    net = plain()
    first = net.net[0].weight.detach().clone()
    trainer = th.Trainer(**{**QUIET, "max_epochs": 2}, callbacks=[ModelPruning("l1_unstructured"), Ends()])
    trainer.fit(net, shuffled())
    # Also the second time: they were not trained meanwhile.
    assert torch.equal(found[0], first)
    assert torch.equal(found[1], first)


def test_resampled() -> None:
    class Ends(th.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            found.append(pl_module.net[0].weight_orig.detach().clone())

    found: list[torch.Tensor] = []
    fit(ModelPruning("l1_unstructured", resample_parameters=True), Ends())
    assert not torch.equal(found[0], found[1])
    assert float(found[0].abs().max()) <= 0.5  # as torch draws them for four inputs


def test_subclasses_leave_some_out() -> None:
    class Heads(ModelPruning):
        def filter_parameters_to_prune(self, parameters_to_prune: Any = ()) -> Any:
            return [(module, name) for module, name in parameters_to_prune if isinstance(module, nn.Linear)]

    net = fit(Heads("l1_unstructured", amount=0.5, use_lottery_ticket_hypothesis=False), max_epochs=1)
    assert zeros(net)["net.1.weight"] == 0


@pytest.mark.parametrize("permanent", [True, False])
def test_files_hold_weights_as_pruned(tmp_path: Path, permanent: bool) -> None:
    pruning = ModelPruning(
        "l1_unstructured", amount=0.4, make_pruning_permanent=permanent, use_lottery_ticket_hypothesis=False
    )
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1)
    net = fit(pruning, saver, enable_checkpointing=True)
    loaded = Net.load_from_checkpoint(tmp_path / "step=5.ckpt")
    assert sum(zeros(loaded).values()) == 26
    assert hasattr(net.net[0], "weight_mask") is not permanent


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("step", "options"),
    [(3, {}), (7, {}), (12, {"use_lottery_ticket_hypothesis": False}), (7, {"prune_on_train_epoch_end": False})],
)
def test_resumed_to_the_bit(tmp_path: Path, way: str, step: int, options: dict[str, Any]) -> None:
    runs = Resumes(lambda: [ModelPruning("l1_unstructured", amount=0.2, **options)], plain, max_epochs=3)
    runs.check(tmp_path, step, way)


def test_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    net = plain()
    callback = ModelPruning(
        "l1_unstructured", [(net.net[3], "weight"), (net.net[3], "bias")], amount=3, verbose=2,
        use_lottery_ticket_hypothesis=False,
    )  # fmt: skip
    fit(callback, net=net, max_epochs=1)
    said = [record.message for record in caplog.records if record.message.startswith("pruned")]
    assert said[0] == "pruned 3 of 9 values (33.33%); before, 0"
    assert said[1].startswith("pruned ")
    assert "values of net.3.weight (" in said[1]
    assert "with amount=3; before, 0" in said[1]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ModelPruning("l2"), "ModelPruning: pruning_fn='l2' does not exist"),
        (lambda: ModelPruning(max), "must be one of ln_structured, l1_unstructured, random_structured, random_unstr"),
        (lambda: ModelPruning(prune.L1Unstructured(0.1)), "or a class (not an instance) derived from torch.nn.utils"),
        (lambda: ModelPruning("ln_structured", use_global_unstructured=False), "needs pruning_dim, as an integer"),
        (lambda: ModelPruning("ln_structured", use_global_unstructured=False, pruning_dim=0), "needs pruning_norm"),
        (lambda: ModelPruning("random_structured", pruning_dim=0), "use_global_unstructured=True prunes values one by"),
        (lambda: ModelPruning(prune.L1Unstructured, use_global_unstructured=False), "L1Unstructured is a class, which"),
        (
            lambda: ModelPruning("l1_unstructured", parameter_names=["kernel"]),
            "parameter_names='kernel' does not exist",
        ),
        (
            lambda: ModelPruning("l1_unstructured", amount=1.5),
            "amount=1.5 must be a share from 0.0 to 1.0, or a",
        ),
        (
            lambda: ModelPruning("l1_unstructured", amount=-1),
            "amount=-1 must be a share from 0.0 to 1.0, or a",
        ),
        (lambda: ModelPruning("l1_unstructured", amount="half"), "amount='half' must be a number or a function of the"),
        (lambda: ModelPruning("l1_unstructured", verbose=3), "verbose=3 does not exist"),
        (lambda: fit(ModelPruning("l1_unstructured", [1])), "parameters_to_prune=[1] must be a list of pairs"),
        (lambda: fit(ModelPruning("l1_unstructured", [(nn.Linear(1, 1), "weight")])), "names Linear, which is no part"),
        (lambda: _misnamed(), "names 'kernel' of Linear, which has only weight, bias"),
        (lambda: fit(ModelPruning("l1_unstructured"), net=Bare()), "finds no parameter to prune in Bare"),
    ],
)
def test_what_cannot_be_pruned(make: Any, said: str) -> None:
    with pytest.raises(MisconfigurationException) as caught:
        make()
    assert said in str(caught.value)


def _misnamed() -> None:
    net = plain()
    fit(ModelPruning("l1_unstructured", [(net.net[0], "kernel")]), net=net)


class Bare(th.LightningModule):
    """One parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.scale.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_run_that_was_complete_has_no_masks_left(tmp_path: Path) -> None:
    class Saves(th.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(tmp_path / "x.ckpt")

    fit(ModelPruning("l1_unstructured"), Saves(), max_epochs=1)
    net = plain()
    th.Trainer(**{**QUIET, "max_epochs": 1}, callbacks=ModelPruning("l1_unstructured")).fit(
        net, shuffled(), in_order(), ckpt_path=tmp_path / "x.ckpt"
    )
    assert not [name for name in net.state_dict() if name.endswith("_mask")]


@pytest.mark.parametrize("kind", [WeightAveraging, EMAWeightAveraging, StochasticWeightAveraging])
@pytest.mark.parametrize("first", [True, False])
def test_pruning_beside_an_average_is_refused(kind: Any, first: bool) -> None:
    average = kind(0.1) if kind is StochasticWeightAveraging else kind()
    both = [ModelPruning("l1_unstructured"), average]
    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=both if first else both[::-1])
    with pytest.raises(
        MisconfigurationException, match=rf"ModelPruning together with {kind.__name__}: .*average first"
    ):
        trainer.fit(Net(), shuffled())
