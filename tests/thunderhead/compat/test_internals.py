"""The names of Lightning's inside that libraries use: each is found, and says what the Trainer's records say."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import os
import pickle
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from trainer_models import QUIET

import thunderhead as th
from thunderhead import compat
from thunderhead.compat import internal_names
from thunderhead.compat.internal_names import INTERNALS
from thunderhead.exceptions import MisconfigurationException
from thunderhead.strategies import Strategy

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    compat.install()
    yield
    compat.uninstall()


@pytest.mark.parametrize("module", sorted(INTERNALS))
def test_every_name_resolves(module: str) -> None:
    found = importlib.import_module(module)
    for name in INTERNALS[module]:
        value = getattr(found, name)
        if internal_names.home(module, name) is None:
            with pytest.raises(ImportError, match=f"{name} is not available in Thunderhead"):
                value()


def test_they_are_imported_when_asked_for(tmp_path: Path) -> None:
    code = (
        "import sys, thunderhead as th; t = th.Trainer(logger=False, accelerator='cpu')\n"
        "print([n for n in sys.modules if n.startswith('thunderhead.compat.') and 'intern' in n])\n"
        "print(t._accelerator_connector.is_distributed)"
    )
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "runtime"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=settings, capture_output=True, text=True)
    assert ast.literal_eval(done.stdout.splitlines()[0]) in ([], ["thunderhead.compat.internal_names"]), done.stderr
    assert done.stdout.splitlines()[1] == "False"


def test_types_can_be_put_into_annotations() -> None:
    from lightning.fabric.utilities.types import _DEVICE, _MAP_LOCATION_TYPE, _PATH, Optimizable, _Stateful

    def load(path: _PATH | typing.IO[bytes], at: _MAP_LOCATION_TYPE = None, on: _DEVICE = "cpu") -> None: ...

    found = typing.get_type_hints(
        load, localns={"_PATH": _PATH, "_MAP_LOCATION_TYPE": _MAP_LOCATION_TYPE, "_DEVICE": _DEVICE}
    )
    assert found["path"] == typing.Union[str, Path, typing.IO[bytes]]  # noqa: UP007
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)
    assert isinstance(optimizer, Optimizable)
    assert isinstance(optimizer, _Stateful)
    assert not isinstance(object(), _Stateful)


def test_the_accelerator_connector() -> None:
    from lightning.pytorch.trainer.connectors.accelerator_connector import _AcceleratorConnector

    trainer = th.Trainer(**QUIET)
    for found in (trainer._accelerator_connector, _AcceleratorConnector(accelerator="cpu", devices=1)):
        assert isinstance(found, _AcceleratorConnector)
        assert (found._accelerator_flag, found._devices_flag, found.is_distributed) == ("cpu", 1, False)
        assert found._parallel_devices == [torch.device("cpu")]
        assert isinstance(found.strategy, Strategy)
    assert trainer._accelerator_connector.strategy is trainer.strategy
    assert _AcceleratorConnector(devices=2, accelerator="cpu", strategy="ddp").is_distributed
    with pytest.raises(MisconfigurationException, match="nothing_of_the_kind"):
        _AcceleratorConnector(accelerator="nothing_of_the_kind")


class Line(th.LightningModule):
    def __init__(self, width: int = 2, **other: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(width, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).sum()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch + 1

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_what_a_strategy_knows_of_the_run() -> None:
    trainer, module = th.Trainer(**QUIET, max_epochs=1), Line()
    assert (trainer.strategy.lightning_module, trainer.strategy.optimizers) == (None, [])
    assert trainer.strategy.batch_to_device([torch.ones(1)])[0].item() == 1
    trainer.fit(module, DataLoader(torch.ones(4, 2), 2))
    strategy = trainer.strategy
    assert strategy.lightning_module is module
    assert strategy.optimizers is trainer.optimizers
    assert strategy.lr_scheduler_configs == trainer.lr_scheduler_configs == []
    assert strategy.batch_to_device(torch.ones(1)).item() == 2
    assert module._apply_batch_transfer_handler(torch.zeros(1), device=torch.device("cpu")).item() == 1
    assert (module._device, module._dtype) == (torch.device("cpu"), torch.float32)
    module._device = "mine"  # a module's own attribute of that name
    assert module._device == "mine"


def test_registered_names() -> None:
    from lightning.pytorch.accelerators import AcceleratorRegistry
    from lightning.pytorch.strategies import StrategyRegistry

    @StrategyRegistry.register("mine", description="one of ours")
    class Mine(Strategy): ...

    try:
        assert isinstance(th.Trainer(**QUIET, strategy="mine").strategy, Mine)
        assert {"mine", "ddp"} <= set(StrategyRegistry.available_strategies())
        assert "mine" in StrategyRegistry
        with pytest.raises(MisconfigurationException, match="'mine' is registered already"):
            StrategyRegistry.register("mine", Mine)
    finally:
        StrategyRegistry.remove("mine")
    with pytest.raises(MisconfigurationException, match="mine"):
        th.Trainer(**QUIET, strategy="mine")
    with pytest.raises(KeyError, match="no accelerator 'xpu' was registered"):
        AcceleratorRegistry.get("xpu")


def test_arguments_of_constructors() -> None:
    from lightning.pytorch.utilities.parsing import collect_init_args, get_init_args

    class Base:
        def __init__(self, a: int, *rest: int, **named: int) -> None:
            super().__init__()
            frame = inspect.currentframe()
            assert frame is not None
            self.own, self.all = get_init_args(frame), collect_init_args(frame, [])

    class Derived(Base):
        def __init__(self, b: int) -> None:
            extra = b + 1
            super().__init__(extra, 8, c=9)

    made = Derived(1)
    assert made.own == {"a": 2, "c": 9}
    assert made.all == [{"a": 2, "c": 9}, {"b": 1}]


def test_objects_from_descriptions() -> None:
    from lightning.pytorch.cli import instantiate_class

    parameters = [nn.Parameter(torch.ones(1))]
    made = instantiate_class(parameters, {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}})
    assert isinstance(made, torch.optim.SGD)
    assert made.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (MemoryError(), True),
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("shapes"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_memory_that_ran_out(error: BaseException, expected: bool) -> None:
    from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error

    assert is_oom_error(error) is expected
    garbage_collection_cuda()


def test_seeds_again() -> None:
    from lightning.fabric.utilities.seed import reset_seed, seed_everything

    seed_everything(5, verbose=False)
    first = torch.rand(2)
    reset_seed()
    assert torch.equal(torch.rand(2), first)


def test_attributes_wherever_they_are() -> None:
    from lightning.pytorch.utilities.parsing import lightning_getattr, lightning_hasattr, lightning_setattr

    module = Line(width=3, depth=2)
    assert lightning_hasattr(module, "depth")
    assert lightning_getattr(module, "depth") == 2
    lightning_setattr(module, "depth", 4)
    assert module.hparams.depth == 4
    assert not lightning_hasattr(module, "nothing")
    with pytest.raises(AttributeError, match="'nothing'"):
        lightning_setattr(module, "nothing", 1)


def test_files(tmp_path: Path) -> None:
    from lightning.fabric.utilities.cloud_io import _is_dir, _load, get_filesystem
    from lightning.pytorch.core.saving import _load_from_checkpoint

    trainer, module = th.Trainer(**QUIET, max_epochs=1), Line(width=2)
    trainer.fit(module, DataLoader(torch.ones(4, 2), 2))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    content = (tmp_path / "x.ckpt").read_bytes()
    for source in (tmp_path / "x.ckpt", str(tmp_path / "x.ckpt"), io.BytesIO(content)):
        assert _load(source, weights_only=True)["global_step"] == 2
    again = _load_from_checkpoint(Line, io.BytesIO(content), map_location="cpu", strict=True)
    assert torch.equal(again.layer.weight, module.layer.weight)
    found = get_filesystem(tmp_path)
    assert found.exists(str(tmp_path / "x.ckpt"))
    assert _is_dir(found, tmp_path)


def test_flags_of_what_is_installed() -> None:
    from lightning.fabric.utilities.imports import _TORCH_GREATER_EQUAL_2_6, _TORCH_LESS_EQUAL_2_6
    from lightning.pytorch.utilities.imports import RequirementCache, package_available

    assert (_TORCH_GREATER_EQUAL_2_6, _TORCH_LESS_EQUAL_2_6) == (True, False)
    assert bool(RequirementCache("torch>=2.0,<99"))
    assert bool(RequirementCache("numpy"))
    assert not RequirementCache("torch<2.0")
    assert not RequirementCache("nothing_of_the_kind>=1")
    assert "install it" in str(RequirementCache("nothing_of_the_kind"))
    assert package_available("torch")
    assert not package_available("nothing_of_the_kind.inner")


def test_shared_parameters() -> None:
    from lightning.pytorch.utilities import find_shared_parameters, set_shared_parameters

    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    shared = find_shared_parameters(net)
    assert shared == [["0.weight", "1.weight"]]
    net[1].weight = nn.Parameter(torch.ones(2, 2))
    assert find_shared_parameters(net) == []
    assert set_shared_parameters(net, shared)[1].weight is net[0].weight  # type: ignore[index]


def test_small_things() -> None:
    from lightning.fabric.utilities.rank_zero import _get_rank
    from lightning.pytorch.callbacks.progress.progress_bar import get_standard_metrics
    from lightning.pytorch.callbacks.progress.tqdm_progress import convert_inf
    from lightning.pytorch.utilities import LightningEnum, is_picklable, suggested_max_num_workers
    from lightning.pytorch.utilities.memory import recursive_detach
    from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature

    class Kind(LightningEnum):
        ONE = "first"

    assert Kind.ONE == "first"
    assert Kind.from_str("one") is Kind.ONE is Kind.from_str("FIRST", source="value")
    assert Kind.from_str("two") is None
    assert (convert_inf(float("inf")), convert_inf(3)) == (None, 3)
    assert is_picklable(1)
    assert not is_picklable(lambda: 1)
    assert suggested_max_num_workers(10_000) == 1
    assert not recursive_detach({"a": [torch.ones(1, requires_grad=True) * 2]})["a"][0].requires_grad
    assert is_param_in_hook_signature(lambda batch, batch_idx: 0, "batch_idx")
    assert not is_param_in_hook_signature(lambda batch: 0, "batch_idx")
    assert get_standard_metrics(th.Trainer(**QUIET)) == {}
    assert _get_rank() is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["BoringModel", "ManualOptimBoringModel"])
def test_demos(kind: str) -> None:
    import lightning.pytorch.demos.boring_classes as boring

    data, trainer = boring.BoringDataModule(), th.Trainer(**QUIET, max_epochs=1)
    module = getattr(boring, kind)()
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 64
    trainer.validate(module, verbose=False)
    trainer.test(module, datamodule=data, verbose=False)
    assert len(trainer.predict(module)) == 64  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(module)).layer.in_features == 32


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["LightningLSTM", "LightningTransformer"])
def test_language_models(kind: str) -> None:
    module: Any = importlib.import_module("lightning.pytorch.demos." + ("lstm" if "LSTM" in kind else "transformer"))
    words = torch.randint(0, 9, (4, 6))
    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit(getattr(module, kind)(vocab_size=9), DataLoader(TensorDataset(words, words), 2))
    assert trainer.global_step == 2
