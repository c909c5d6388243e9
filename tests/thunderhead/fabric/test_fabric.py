"""A loop of the user's own through Fabric learns what the same loop without it learns."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler
from trainer_models import regression
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException
from thunderhead.fabric import Fabric, is_wrapped


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def loader(**options: Any) -> DataLoader[Any]:
    return DataLoader(regression(40), batch_size=4, **options)


def by_hand(precision: str, clip: float | None) -> list[float]:
    """The raw loop on one process."""
    net = network()
    optimizer, losses = torch.optim.AdamW(net.parameters(), lr=0.05), []
    for inputs, target in loader():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            output = net(inputs)
        loss = functional.mse_loss(output, target)
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


def in_fabric(fabric: Fabric, clip: float | None = None, *, epochs: int = 1, shuffle: bool = False) -> list[float]:
    """The same through it."""
    model = fabric.setup_module(network())
    optimizer = fabric.setup_optimizers(torch.optim.AdamW(model.parameters(), lr=0.05))
    data, losses = fabric.setup_dataloaders(loader(shuffle=shuffle)), []
    for _ in range(epochs):
        for inputs, target in data:
            optimizer.zero_grad()
            loss = functional.mse_loss(model(inputs), target)
            fabric.backward(loss)
            if clip is not None:
                fabric.clip_gradients(model, optimizer, max_norm=clip)
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("precision", "clip"), [("32-true", None), ("32-true", 0.1), ("bf16-mixed", None)])
def test_one_process(precision: str, clip: float | None) -> None:
    assert in_fabric(Fabric(accelerator="cpu", precision=precision), clip) == by_hand(precision, clip)


def _ddp(rank: int) -> list[str]:
    th.seed_everything(3, verbose=False)
    net, data = network(), regression(40)
    model = DistributedDataParallel(net)
    sampler: DistributedSampler[Any] = DistributedSampler(data, seed=3)
    optimizer, raw = torch.optim.AdamW(model.parameters(), lr=0.05), []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for inputs, target in DataLoader(data, batch_size=4, sampler=sampler):
            optimizer.zero_grad()
            loss = functional.mse_loss(model(inputs), target)
            loss.backward()
            optimizer.step()
            raw.append(loss.item())
    found = []
    for strategy in ("ddp", "fsdp"):
        th.seed_everything(3, verbose=False)
        fabric = Fabric(accelerator="cpu", strategy=strategy)
        losses = in_fabric(fabric, epochs=2, shuffle=True)
        if not torch.allclose(torch.tensor(losses), torch.tensor(raw), rtol=2e-5, atol=2e-6):
            found.append(f"{strategy}: {losses} is not {raw}")
        told = fabric.all_gather(torch.tensor([float(fabric.global_rank)]))
        assert told.tolist() == [[0.0], [1.0]]
        assert fabric.all_reduce(torch.tensor(float(fabric.global_rank)), reduce_op="sum").item() == 1.0
        assert fabric.broadcast({"rank": fabric.global_rank}) == {"rank": 0}
    return found


def test_two_ranks_learn_what_raw_ddp_learns(tmp_path: Path) -> None:
    assert run_ranks(_ddp, 2, tmp_path) == [[]] * 2


def _accumulated(rank: int, strategy: str) -> list[float]:
    th.seed_everything(3, verbose=False)
    fabric = Fabric(accelerator="cpu", strategy=strategy)
    model = fabric.setup_module(network())
    optimizer, losses = fabric.setup_optimizers(torch.optim.AdamW(model.parameters(), lr=0.05)), []
    for index, (inputs, target) in enumerate(fabric.setup_dataloaders(loader())):
        with fabric.no_backward_sync(model, enabled=index % 2 == 0):
            loss = functional.mse_loss(model(inputs), target)
            fabric.backward(loss)
        if index % 2:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_gradients_are_held_back_alike(tmp_path: Path) -> None:
    (one, _), (other, _) = run_ranks(_accumulated, 2, tmp_path, "ddp"), run_ranks(_accumulated, 2, tmp_path, "fsdp")
    assert one == pytest.approx(other, rel=2e-5)


def state_of(fabric: Fabric, epoch: int = 0) -> dict[str, Any]:
    model = fabric.setup_module(network())
    optimizer = fabric.setup_optimizers(torch.optim.AdamW(model.parameters(), lr=0.05))
    return {"model": model, "optimizer": optimizer, "epoch": epoch}


def step(fabric: Fabric, state: dict[str, Any]) -> float:
    """One, on fixed data."""
    inputs, target = regression(8).tensors
    state["optimizer"].zero_grad()
    loss = functional.mse_loss(state["model"](inputs), target)
    fabric.backward(loss)
    state["optimizer"].step()
    return loss.item()


def _kept(rank: int, folder: str) -> list[str]:
    """Losses after loading equal those of going on."""
    from thunderhead.strategies import FSDPStrategy

    found = []
    for name, strategy in (
        ("ddp", "ddp"),
        ("fsdp", "fsdp"),
        ("sharded", FSDPStrategy(state_dict_type="sharded")),
    ):
        path = Path(folder) / f"{name}.ckpt"
        fabric = Fabric(accelerator="cpu", strategy=strategy)
        state = state_of(fabric, epoch=7)
        step(fabric, state)
        fabric.save(path, state)
        going_on = [step(fabric, state) for _ in range(2)]
        other = state_of(fabric)
        left = fabric.load(path, other)
        resumed = [step(fabric, other) for _ in range(2)]
        if going_on != resumed or other["epoch"] != 7 or left:
            found.append(f"{name}: {resumed} is not {going_on}; {other['epoch']}; {left}")
    return found


def test_what_is_saved_goes_on(tmp_path: Path) -> None:
    assert run_ranks(_kept, 2, tmp_path, str(tmp_path)) == [[]] * 2
    alone = Fabric(accelerator="cpu")
    for name in ("ddp", "fsdp", "sharded"):
        state = state_of(alone)
        alone.load(tmp_path / f"{name}.ckpt", state)
        assert state["epoch"] == 7
        assert len(state["optimizer"].state_dict()["state"]) == 4


def test_filters_and_keys(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu")
    state = state_of(fabric, epoch=1)
    fabric.save(tmp_path / "x.ckpt", state, filter={"model": lambda name, value: "bias" not in name})
    content = fabric.load(tmp_path / "x.ckpt")
    assert sorted(content["model"]) == ["0.weight", "2.weight"]
    with pytest.raises(KeyError, match="has no 'step', which state asks for; it holds 'model', 'optimizer', 'epoch'"):
        fabric.load(tmp_path / "x.ckpt", {"step": 1})
    assert fabric.load(tmp_path / "x.ckpt", {"step": 1}, strict=False).keys() == {"model", "optimizer", "epoch"}
    torch.save(network().state_dict(), tmp_path / "raw.pt")
    fabric.load_raw(tmp_path / "raw.pt", state["model"])
    with pytest.raises(ValueError, match="'weights', which is no key of the state"):
        fabric.save(tmp_path / "y.ckpt", state, filter={"weights": bool})


def test_a_module_is_the_users_own() -> None:
    class Net(nn.Linear):
        extra = 3

        def twice(self, inputs: torch.Tensor) -> torch.Tensor:
            return 2 * self(inputs)

    fabric, net = Fabric(accelerator="cpu"), Net(4, 1)
    model, optimizer = fabric.setup(net, torch.optim.SGD(net.parameters(), lr=0.1))
    assert [is_wrapped(each) for each in (model, optimizer, net)] == [True, True, False]
    assert model.extra == 3
    model.extra = 4
    assert net.extra == 4
    assert torch.equal(model.twice(torch.ones(1, 4)), 2 * net(torch.ones(1, 4)))
    assert isinstance(optimizer, torch.optim.SGD)
    assert list(model.state_dict()) == ["weight", "bias"]
    model.eval()
    assert not net.training
    calls: list[str] = []
    model.register_forward_hook(lambda *_: calls.append("hook"))
    model(torch.ones(1, 4))
    assert calls == ["hook"]


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["deepcopy", "pickle"]
)
def test_an_optimizer_can_be_copied(copied: Callable[[Any], Any]) -> None:
    fabric = Fabric(accelerator="cpu")
    model = fabric.setup_module(network())
    optimizer = fabric.setup_optimizers(torch.optim.AdamW(model.parameters(), lr=0.05))
    fabric.backward(model(torch.ones(1, 4)).sum())
    optimizer.step()
    again = copied(optimizer)
    assert isinstance(again, torch.optim.AdamW)
    state, before = again.state_dict(), optimizer.state_dict()
    assert state["param_groups"] == before["param_groups"]
    assert torch.equal(state["state"][0]["exp_avg"], before["state"][0]["exp_avg"])
    for parameter in again.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    again.step()
    assert again.state_dict()["state"][0]["step"] == optimizer.state_dict()["state"][0]["step"] + 1


def test_callbacks_loggers_and_launch(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    class Notes:
        def on_after_optimizer_step(self, strategy: Any, optimizer: Any) -> None:
            seen.append(type(optimizer).__name__)

        def on_end(self, score: float) -> None:
            seen.append(score)

        def log_metrics(self, metrics: Any, step: Any) -> None:
            seen.append((metrics, step))

    fabric = Fabric(accelerator="cpu", callbacks=Notes(), loggers=Notes())
    step(fabric, state_of(fabric))
    fabric.call("on_end", score=1.0, other=2)
    fabric.call("nobody_has_this")
    fabric.log("loss", torch.tensor(2.0), step=3)
    assert seen == ["AdamW", 1.0, ({"loss": 2.0}, 3)]
    assert fabric.launch(lambda own, x: (own is fabric, x), 5) == (True, 5)
    fabric.print("once")
    assert capsys.readouterr().out == "once\n"


def _in_child(fabric: Fabric, x: int) -> list[int]:
    return fabric.all_gather(torch.tensor(fabric.global_rank + x)).tolist()


def test_ranks_that_are_children() -> None:
    fabric = Fabric(accelerator="cpu", strategy="ddp_fork", devices=2)
    with pytest.raises(TypeError, match="so launch needs a function to run in them"):
        fabric.launch()
    with pytest.raises(RuntimeError, match=r"setup before Fabric.launch\(\) with several devices"):
        fabric.setup(network())
    assert fabric.launch(_in_child, 3) == [3, 4]


@pytest.mark.parametrize(
    ("use", "error", "said"),
    [
        (lambda f, m: f.setup(f.setup(m)), ValueError, "set up already"),
        (lambda f, m: f.setup_dataloaders(), ValueError, "got none"),
        (lambda f, m: f.setup_optimizers(), ValueError, "got none"),
        (lambda f, m: f.launch(3), TypeError, "pass the function itself"),
        (lambda f, m: f.launch(lambda: 1), TypeError, "must take the Fabric"),
        (lambda f, m: f.no_backward_sync(m), TypeError, "set it up first"),
        (lambda f, m: f.clip_gradients(m, torch.optim.SGD(m.parameters())), ValueError, "pass one of them"),
        (lambda f, m: f.setup(m).mark_forward_method("forward"), ValueError, "leave it out"),
        (lambda f, m: f.setup(m).mark_forward_method("nothing"), AttributeError, "Sequential has none"),
        (lambda f, m: f.save("x", {"model": m}, filter=3), TypeError, "no dict of functions"),
        (lambda f, m: Fabric(strategy="deepspeed"), MisconfigurationException, "use 'fsdp'"),
    ],
)
def test_misuse_is_told(use: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        use(Fabric(accelerator="cpu"), network())


def _sharded_by_a_function(rank: int) -> list[float]:
    from torch.distributed.fsdp import fully_shard

    from thunderhead.fabric.parallelize import ModelParallelStrategy

    def shard(module: nn.Module, mesh: Any) -> nn.Module:
        return fully_shard(module, mesh=mesh["data_parallel"])

    th.seed_everything(3, verbose=False)
    return in_fabric(
        Fabric(accelerator="cpu", strategy=ModelParallelStrategy(shard, data_parallel_size=2, tensor_parallel_size=1))
    )


def test_a_function_shards_the_module(tmp_path: Path) -> None:
    one, other = run_ranks(_sharded_by_a_function, 2, tmp_path)
    losses = run_ranks(_reduced, 2, tmp_path)
    assert [one, other] == [pytest.approx(each, rel=2e-5) for each in losses]


def _reduced(rank: int) -> list[float]:
    th.seed_everything(3, verbose=False)
    return in_fabric(Fabric(accelerator="cpu", strategy="ddp"))


def test_what_shards_a_module_is_a_function() -> None:
    from thunderhead.fabric.parallelize import ModelParallelStrategy

    with pytest.raises(TypeError, match="in configure_model"):
        ModelParallelStrategy("auto")  # type: ignore[arg-type]
