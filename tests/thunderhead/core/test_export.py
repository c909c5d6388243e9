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


def test_what_is_refused_names_the_way() -> None:
    with pytest.raises(MisconfigurationException, match=r"Doubling\.to_tensorrt is not supported: .*torch_tensorrt\."):
        Doubling().to_tensorrt("a")


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
    """The new one is called, and that the old one is not is said."""
    called: list[str] = []
    hooks = {
        name: lambda self, name=name: called.append(name) for name in ("configure_model", "configure_sharded_model")
    }
    with pytest.warns(UserWarning, match=r"Both overrides configure_model and configure_sharded_model, .*; keep"):
        trainer().fit(type("Both", (Line,), hooks)(), numbers(1))
    assert called == ["configure_model"]


class Plain(th.LightningModule):
    """A module as TorchScript can read it, with a property of its own."""

    def __init__(self, fitted: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(1, 1)
        self.example_input_array = torch.ones(2, 1)

    def forward(self, number: torch.Tensor) -> torch.Tensor:
        return self.layer(number)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


WAYS: dict[str, Any] = {
    "script": lambda module: module.to_torchscript(),
    "trace": lambda module: module.to_torchscript(method="trace"),
    "trace an input": lambda module: module.to_torchscript(method="trace", example_inputs=torch.ones(1, 1)),
    "torch's script": torch.jit.script,
    "torch's trace": lambda module: torch.jit.trace(module, torch.ones(1, 1)),
}


@pytest.mark.filterwarnings("ignore:Plain.to_torchscript", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_torchscript_compiles_it(way: str, fitted: bool) -> None:
    module = Plain()
    if fitted:
        trainer().fit(module, torch.utils.data.DataLoader(torch.ones(1, 1)))  # type: ignore[arg-type]  # has a length
    compiled = WAYS[way](module)
    assert isinstance(compiled, torch.jit.ScriptModule)
    assert torch.equal(compiled(torch.ones(3, 1)), module(torch.ones(3, 1)))
    assert module.training


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_written_and_its_end_said_once(tmp_path: Path) -> None:
    from thunderhead import warning

    warning._said.clear()
    module = Plain()
    with pytest.warns(UserWarning, match=r"torch has deprecated TorchScript; its successor is torch\.export"):
        module.to_torchscript(tmp_path / "a.pt")
    module.to_torchscript(tmp_path / "a.pt")
    assert torch.equal(torch.jit.load(str(tmp_path / "a.pt"))(torch.ones(1, 1)), module(torch.ones(1, 1)))


@pytest.mark.filterwarnings("ignore:Plain.to_torchscript")
def test_torchscript_says_what_it_lacks() -> None:
    module = Plain()
    module.example_input_array = None
    with pytest.raises(MisconfigurationException, match="has no input to trace with; pass example_inputs"):
        module.to_torchscript(method="trace")
    with pytest.raises(MisconfigurationException, match="there are 'script' and 'trace'"):
        module.to_torchscript(method="compile")


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "16-true"])
def test_what_configure_model_makes_has_the_number_format(precision: str) -> None:
    class Late(Line):
        found: Any = None

        def configure_model(self) -> None:
            self.found = (torch.nn.Linear(1, 1).weight.dtype, torch.ones(1).dtype)

    module = Late()
    trainer(precision=precision).fit(module, numbers(1))
    dtype = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}[precision]
    assert module.found == (dtype, dtype)
    assert torch.get_default_dtype() is torch.float32
