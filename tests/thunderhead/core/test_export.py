"""What takes a module out of Python, and what a module has not got."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trainer_line import Line, numbers, trainer

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException


class Doubling(th.LightningModule):
    """Doubles, after its transfer hooks added one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, number: torch.Tensor) -> torch.Tensor:
        """Twice."""
        return self.layer(number) * 2

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """One more."""
        return batch + 1


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of ``torch.onnx.export``, for which the package onnx seems to be there."""
    calls: list[Any] = []

    def export(module: Any, sample: Any, path: Any, **kwargs: Any) -> str:
        calls.append((module.training, torch.is_grad_enabled(), sample, path, kwargs))
        return "program"

    monkeypatch.setattr(torch.onnx, "export", export)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "onnx" or None)
    return calls


def test_onnx_is_left_to_torch(exported: list[Any]) -> None:
    module = Doubling().train()
    assert module.to_onnx(Path("a.onnx"), torch.tensor([1.0]), opset_version=18) == "program"
    assert exported == [(False, False, torch.tensor([2.0]), "a.onnx", {"opset_version": 18})]
    assert module.training
    module.example_input_array = torch.tensor([5.0])
    module.to_onnx()
    assert exported[1][2:] == (torch.tensor([6.0]), None, {})


def test_onnx_wants_an_input(exported: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"Doubling.to_onnx has no input.*self\.example_input_array"):
        Doubling().to_onnx("a.onnx")


def test_onnx_wants_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="needs the package onnx"):
        Doubling().to_onnx("a.onnx", torch.zeros(1))


@pytest.mark.parametrize(
    ("name", "instead"), [("to_torchscript", r"torch\.export\.export"), ("to_tensorrt", r"torch_tensorrt\.compile")]
)
def test_what_is_refused_names_the_way(name: str, instead: str) -> None:
    with pytest.raises(MisconfigurationException, match=rf"Doubling\.{name} is not supported: .*{instead}"):
        getattr(Doubling(), name)("a")


def test_fabric_and_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Line()
    assert (module.fabric, module.device_mesh) == (None, None)
    made = trainer()
    made.fit(module, numbers(1))
    assert module.device_mesh is None
    monkeypatch.setattr(module, "_trainer", SimpleNamespace(strategy=SimpleNamespace(device_mesh="mesh")))
    assert module.device_mesh == "mesh"


class Old(Line):
    """Configures itself under the old name."""

    def __init__(self) -> None:
        super().__init__()
        self.configured = 0

    def configure_sharded_model(self) -> None:
        """Count."""
        super().configure_sharded_model()
        self.configured += 1


@pytest.mark.parametrize("method", ["fit", "validate"])
def test_configure_sharded_model_is_called_with_a_warning(method: str) -> None:
    module = Old()
    with pytest.warns(UserWarning, match=r"Old\.configure_sharded_model is deprecated; rename it to configure_model"):
        getattr(trainer(), method)(module, numbers(1))
    assert module.configured == 1


def test_both_names_of_configure_model() -> None:
    both = type("Both", (Old,), {"configure_model": lambda self: None})
    with pytest.raises(RuntimeError, match=r"Both overrides configure_model and configure_sharded_model, .*; keep"):
        trainer().fit(both(), numbers(1))
