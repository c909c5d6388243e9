"""ModelSummary: which layers it lists, what it counts, and that looking changes nothing."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trainer_models import QUIET, Net, bits, shuffled

import thunderhead as th
from thunderhead.callbacks import ModelSummary, RichModelSummary
from thunderhead.exceptions import MisconfigurationException
from thunderhead.user.summary import ModelSummary as Summary
from thunderhead.user.summary import readable, summarize


class Deep(th.LightningModule):
    """Two levels, a frozen layer, and a parameter of its own."""

    def __init__(self, example: Any = None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1, bias=False))
        self.scale = nn.Parameter(torch.ones(3))
        self.net[3].requires_grad_(False)
        self.net[1].eval()
        self.example_input_array = example

    def forward(self, inputs: Tensor) -> Any:
        """(batch, 4) → (batch, 1)."""
        return self.net(inputs)


def test_totals() -> None:
    summary = summarize(Deep())
    assert summary.total_parameters == 40 + 16 + 8 + 3
    assert summary.trainable_parameters == 40 + 16 + 3
    assert summary.model_size == pytest.approx(67 * 4e-6)
    assert summary.total_training_modes == {"train": 4, "eval": 1}
    assert summary.total_flops == 0


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (0, []),
        (1, ["net"]),
        (2, ["net", "net.0", "net.1", "net.2", "net.3"]),
        (-1, ["net", *(f"net.{n}" for n in range(4))]),
    ],
)
def test_depth(depth: int, names: list[str]) -> None:
    summary = Summary(Deep(), max_depth=depth)
    assert [layer.name for layer in summary.layers] == names
    if depth:
        assert summary.rows[-1][1:4] == ["other params", "n/a", "3"]


def test_shapes_and_operations_with_an_example() -> None:
    summary = Summary(Deep(torch.zeros(2, 4)), max_depth=2)
    by_name = {layer.name: layer for layer in summary.layers}
    assert (by_name["net"].in_size, by_name["net"].out_size) == ([2, 4], [2, 1])
    assert (by_name["net.1"].layer_type, by_name["net.1"].in_size) == ("BatchNorm1d", [2, 8])
    # Two operations (multiply, add) per weight and sample.
    assert by_name["net.0"].flops == 2 * 2 * 4 * 8
    assert summary.total_flops == 2 * 2 * (4 * 8 + 8)
    assert "In sizes" in str(summary)


def test_examples_of_every_form() -> None:
    class Two(Deep):
        def forward(self, inputs: Tensor, other: Any) -> Any:
            return self.net(inputs), other

    tensor = torch.zeros(2, 4)
    for example in ((tensor, tensor), [tensor, tensor], {"inputs": tensor, "other": tensor}):
        assert Summary(Two(example), max_depth=1).layers[0].out_size == [2, 1]


def test_looking_changes_nothing() -> None:
    class Draws(Deep):
        def forward(self, inputs: Tensor) -> Any:
            return super().forward(inputs + torch.rand(()))

    module = Draws(torch.ones(2, 4))
    modes = [child.training for child in module.modules()]
    before, state = bits(module), torch.get_rng_state()
    Summary(module, max_depth=-1)
    assert bits(module) == before
    assert [child.training for child in module.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(child._forward_hooks for child in module.modules())


def test_lazy_layers_count_once_they_are_known() -> None:
    class Lazy(th.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LazyLinear(2)

    module = Lazy()
    assert Summary(module).total_parameters == 0
    module.layer(torch.zeros(1, 5))
    assert Summary(module).total_parameters == 12


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1234, "1.2 K"), (99_999, "100.0 K"), (123_456, "123 K"), (2_000_000, "2.0 M"),
     (3e9, "3.0 B"), (4e14, "400 T"), (5e15, "5,000 T")],
)  # fmt: skip
def test_readable(number: float, text: str) -> None:
    assert readable(int(number)) == text


@pytest.mark.parametrize("depth", [-2, 1.5, True])
def test_depths_that_mean_nothing(depth: Any) -> None:
    with pytest.raises(MisconfigurationException, match="max_depth"):
        Summary(Deep(), max_depth=depth)


@pytest.mark.parametrize("kind", [ModelSummary, RichModelSummary])
def test_printed_when_fit_starts(kind: type[ModelSummary]) -> None:
    stream = io.StringIO()
    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=[kind(max_depth=2, stream=stream)])
    trainer.fit(Net(), shuffled())
    shown = stream.getvalue()
    for part in ("net.0", "Linear", "BatchNorm1d", "Trainable params", "65"):
        assert part in shown
    assert shown.count("net.0") == 1


def test_a_depth_of_zero_prints_nothing() -> None:
    stream = io.StringIO()
    th.Trainer(**QUIET, max_epochs=1, callbacks=[ModelSummary(0, stream=stream)]).fit(Net(), shuffled())
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ({}, 1),
        ({"enable_model_summary": True}, 1),
        ({"enable_model_summary": False}, 0),
        ({"enable_model_summary": None, "callbacks": [ModelSummary(0)]}, 0),
    ],
)
def test_a_trainer_prints_one_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str], arguments: dict[str, Any], printed: int
) -> None:
    options = {**QUIET, "enable_model_summary": None, "max_epochs": 1, **arguments}
    th.Trainer(**options).fit(Net(), shuffled())
    assert capsys.readouterr().out.count("Total params") == printed
