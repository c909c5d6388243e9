"""A resumed run equals the undisturbed one to the bit also where weights and state do not lie row by row in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from trainer_job import MemoryLink, StopAt
from trainer_models import QUIET, bits

import thunderhead as th
from thunderhead import job
from thunderhead.job.errors import Stopped, UnsupportedState
from thunderhead.job.link import CheckpointPolicy
from thunderhead.job.parts import LOCAL, REPLICATED, Parts, parts_of
from thunderhead.job.stop import boundary_tick

OPTIMIZERS: dict[str, Any] = {
    "SGD": lambda parameters, **how: torch.optim.SGD(parameters, lr=0.02, momentum=0.9, nesterov=True, **how),
    "AdamW": lambda parameters, **how: torch.optim.AdamW(parameters, lr=0.01, amsgrad=True, **how),
    "Adagrad": lambda parameters, **how: torch.optim.Adagrad(parameters, lr=0.01, **how),
    "Adafactor": lambda parameters, **how: torch.optim.Adafactor(parameters, lr=0.01),
    "NAdam": lambda parameters, **how: torch.optim.NAdam(parameters, lr=0.01),
    "LBFGS": lambda parameters, **how: torch.optim.LBFGS(parameters, lr=0.1, max_iter=3),
}
HOW: dict[str, dict[str, bool]] = {
    "plain": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
FORMATS = ("contiguous", "channels_last", "late", "turned")


@pytest.fixture(autouse=True)
def _detach() -> Iterator[None]:
    yield
    job.attach(None)


class Convolutions(th.LightningModule):
    """Convolutions of three and of one pixel, and a buffer; ``late`` changes the format in mid-run."""

    def __init__(self, form: str, optimizer: str, how: str) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3)
        )
        self.register_buffer("filters", torch.randn(2, 3, 3, 3))
        self.form, self.optimizer, self.how = form, optimizer, how
        if form == "channels_last":
            self.to(memory_format=torch.channels_last)
        if form == "turned":
            for parameter in self.parameters():
                if parameter.dim() == 2:
                    parameter.data = parameter.data.t().contiguous().t()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.form == "late" and self.global_step == 2:
            self.to(memory_format=torch.channels_last)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        inputs, labels = batch
        seen = torch.nn.functional.conv2d(inputs, self.filters).mean()
        return nn.functional.cross_entropy(self.net(inputs), labels) + 0 * seen

    def configure_optimizers(self) -> Any:
        return OPTIMIZERS[self.optimizer](self.parameters(), **HOW[self.how])


def loader() -> DataLoader[Any]:
    given = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(24, 3, 6, 6, generator=given), torch.randint(3, (24,), generator=given))
    return DataLoader(data, batch_size=4, shuffle=True)


def build(*what: str, **arguments: Any) -> tuple[th.Trainer, Convolutions]:
    th.seed_everything(3, verbose=False)
    net = Convolutions(*what)
    return th.Trainer(**{**QUIET, "max_epochs": 1, "limit_val_batches": 0, **arguments}), net


def fit(*what: str, ckpt_path: Path | None = None, **arguments: Any) -> Convolutions:
    trainer, net = build(*what, **arguments)
    trainer.fit(net, loader(), ckpt_path=ckpt_path)
    return net


class Saves(th.Callback):
    """Writes a file after four steps."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 4:
            trainer.save_checkpoint(self.path)


def strides(net: nn.Module) -> dict[str, Any]:
    return {name: tensor.stride() for name, tensor in (*net.named_parameters(), *net.named_buffers())}


def assert_close(one: nn.Module, other: nn.Module) -> None:
    """All weights but a bias that the normalization after it takes away: its gradient is the rounding's sign."""
    for (name, mine), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        if name != "net.2.bias":
            torch.testing.assert_close(mine, theirs, msg=lambda text, name=name: f"{name}: {text}")


MATRIX = [
    (form, optimizer, how)
    for form, optimizer, how in itertools.product(FORMATS, OPTIMIZERS, HOW)
    if how == "plain" or optimizer in ("SGD", "AdamW", "Adagrad")
    if form == "contiguous" or optimizer != "LBFGS"  # torch's takes no other
    if form != "late" or how != "fused"  # nor do torch's fused ones see that weights were moved
]


@pytest.mark.parametrize(("form", "optimizer", "how"), MATRIX)
def test_a_job(tmp_path: Path, form: str, optimizer: str, how: str) -> None:
    whole = fit(form, optimizer, how)
    commits: dict[int, Parts] = {}
    job.attach(MemoryLink(tmp_path, commits, stop=StopAt(boundary_tick(4))))
    with pytest.raises(Stopped):
        fit(form, optimizer, how)
    job.attach(MemoryLink(tmp_path, commits))
    resumed = fit(form, optimizer, how)
    assert bits(resumed) == bits(whole)
    assert strides(resumed) == strides(whole)


@pytest.mark.parametrize(("form", "optimizer", "how"), [what for what in MATRIX if what[0] != "late"])
def test_a_file(tmp_path: Path, form: str, optimizer: str, how: str) -> None:
    whole = fit(form, optimizer, how, callbacks=[Saves(tmp_path / "four.ckpt")])
    assert bits(fit(form, optimizer, how, ckpt_path=tmp_path / "four.ckpt")) == bits(whole)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("form", ["contiguous", "channels_last", "turned"])
def test_a_jobs_checkpoint_from_before_layouts_were_kept(tmp_path: Path, form: str, how: str) -> None:
    """Its tensors come back row by row, and fused kernels need them as the weights lie."""

    def forgotten(tree: Any) -> Any:
        if isinstance(tree, Tensor):
            return tree.contiguous()
        if isinstance(tree, dict):
            for key, value in tree.items():
                tree[key] = forgotten(value)
        return [forgotten(item) for item in tree] if isinstance(tree, list) else tree

    whole = fit(form, "AdamW", how)
    commits: dict[int, Parts] = {}
    job.attach(MemoryLink(tmp_path, commits, stop=StopAt(boundary_tick(4))))
    with pytest.raises(Stopped):
        fit(form, "AdamW", how)
    for step, parts in commits.items():
        commits[step] = parts_of(forgotten(parts[REPLICATED].tree), parts[LOCAL].tree)
    job.attach(MemoryLink(tmp_path, commits))
    resumed = fit(form, "AdamW", how)
    assert bits(resumed) == bits(whole)
    assert strides(resumed) == strides(whole)


def test_a_file_of_rows_goes_on_in_channels(tmp_path: Path) -> None:
    """As in Lightning the module says how its weights lie; the state of a fused optimizer follows them."""
    ended = {}
    for how in ("plain", "fused"):
        fit("contiguous", "AdamW", how, callbacks=[Saves(tmp_path / f"{how}.ckpt")])
        ended[how] = fit("channels_last", "AdamW", how, ckpt_path=tmp_path / f"{how}.ckpt")
        assert strides(ended[how])["net.0.weight"] == (27, 1, 9, 3)
    assert_close(ended["plain"], ended["fused"])


def stopped_then(tmp_path: Path, form: str, how: str) -> tuple[th.Trainer, Convolutions]:
    """Four steps of rows and a plain AdamW, the rest as the module says now, with its settings."""
    commits: dict[int, Parts] = {}
    job.attach(MemoryLink(tmp_path, commits, stop=StopAt(boundary_tick(4))))
    with pytest.raises(Stopped):
        fit("contiguous", "AdamW", "plain")
    job.attach(MemoryLink(tmp_path, commits, policy=CheckpointPolicy(module_settings=True)))
    trainer, net = build(form, "AdamW", how)
    trainer.fit(net, loader())
    return trainer, net


@pytest.mark.filterwarnings("ignore:going on with the settings of configure_optimizers")
def test_a_job_that_takes_the_modules_fused_goes_on_in_its_channels(tmp_path: Path) -> None:
    ended = {how: stopped_then(tmp_path, "channels_last", how)[1] for how in ("plain", "fused")}
    assert strides(ended["fused"])["net.0.weight"] == (27, 1, 9, 3)
    assert_close(ended["plain"], ended["fused"])


@pytest.mark.filterwarnings("ignore:going on with the settings of configure_optimizers")
def test_a_job_that_takes_the_modules_fused_has_steps_as_its_kernels_need_them(tmp_path: Path) -> None:
    """On the parameter's device, which is one here, and in float32."""
    torch.set_default_dtype(torch.float64)
    try:
        trainer, net = stopped_then(tmp_path, "contiguous", "fused")
    finally:
        torch.set_default_dtype(torch.float32)
    assert {trainer.optimizers[0].state[parameter]["step"].dtype for parameter in net.parameters()} == {torch.float32}


def test_a_buffer_that_could_never_be_loaded_is_refused_before_the_first_step(tmp_path: Path) -> None:
    trainer, net = build("contiguous", "SGD", "plain")
    net.register_buffer("mask", torch.ones(1, 4).expand(3, 4))
    job.attach(MemoryLink(tmp_path))
    with pytest.raises(UnsupportedState, match=r"state_dict\['mask'\] is an expanded tensor of shape \[3, 4\]"):
        trainer.fit(net, loader())
    assert trainer.global_step == 0
    net.register_buffer("mask", torch.ones(1, 4).expand(3, 4), persistent=False)
    trainer.fit(net, loader())
