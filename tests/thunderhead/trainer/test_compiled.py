"""What ``torch.compile`` made of a module runs: seen by a backend that counts, and equal to the plain module."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from trainer_models import QUIET, in_order, regression, shuffled
from trainer_ranks import run_ranks
from trainer_sharded import Sharded, differences, fit

import thunderhead as th
from thunderhead.strategies import FSDPStrategy, ModelParallelStrategy

# torch itself looks at the gradients of what a step holds where a graph ends in the middle of it.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


class Counting:
    """A backend that compiles nothing, and counts what it was given and how often that ran."""

    def __init__(self) -> None:
        self.graphs = self.runs = 0

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        self.graphs += 1
        return self._counted(graph.forward)

    def _counted(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            self.runs += 1
            return forward(*arguments)

        return run


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


class Net(th.LightningModule):
    """Logs in its steps, with values that change."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.layer(inputs)
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = functional.mse_loss(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss * 2

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", functional.mse_loss(self(batch[0]), batch[1]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", functional.mse_loss(self(batch[0]), batch[1]))

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return functional.softplus(self(batch[0]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


class ByHand(Net):
    """Two optimizers in turn, whose parameters are toggled."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.other = nn.Linear(4, 1)
        self.seen: list[tuple[bool, bool]] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        one, two = self.optimizers()
        self.toggle_optimizer(one)
        self._step(one, functional.mse_loss(self(batch[0]) + self.other(batch[0]), batch[1]))
        self.untoggle_optimizer(one)
        with self.toggled_optimizer(two):
            self._step(two, self(batch[0]).square().mean() + self.other(batch[0]).mean())

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        self.seen.append((self.layer.weight.requires_grad, self.other.weight.requires_grad))
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.layer.parameters(), lr=0.05), torch.optim.SGD(self.other.parameters(), lr=0.05)


def trainer(**options: Any) -> th.Trainer:
    return th.Trainer(**{**QUIET, "max_epochs": 2, "num_sanity_val_steps": 0, **options})


def train() -> Any:
    return shuffled(regression(40), batch_size=4)


def test_steps_run_compiled_and_are_compiled_once() -> None:
    backend, plain, net = Counting(), Net(), Net()
    th.seed_everything(1, verbose=False)
    trainer().fit(plain, train(), in_order(regression(12)))
    th.seed_everything(1, verbose=False)
    compiled: Any = torch.compile(net, backend=backend)
    made = trainer()
    made.fit(compiled, train(), in_order(regression(12)))
    assert made.lightning_module is net
    of_fit = backend.graphs
    assert 0 < of_fit <= 6, "a graph for each part of a step between two logs"
    assert backend.runs >= 2 * 10
    assert torch.equal(net.layer.weight, plain.layer.weight)
    for run in (made.validate, made.test, made.predict):
        before = backend.runs
        more = {} if run == made.predict else {"verbose": False}
        run(compiled, in_order(regression(12)), **more)  # type: ignore[operator]
        assert backend.runs > before, run
    graphs = backend.graphs
    trainer(max_epochs=3).fit(compiled, train())
    assert backend.graphs <= graphs + 2, "compiled for one fit, compiled for the next"


def test_a_module_is_as_it_was_afterwards(tmp_path: Path) -> None:
    net = Net()
    made = trainer()
    made.fit(torch.compile(net, backend=Counting()), train())  # type: ignore[arg-type]
    assert not {"forward", "training_step", "log", "optimizers"} & set(vars(net))
    made.save_checkpoint(tmp_path / "a.ckpt")
    assert set(torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]) == {"layer.weight", "layer.bias"}
    again: Any = torch.compile(Net(), backend=Counting())
    trainer(max_epochs=3).fit(again, train(), ckpt_path=tmp_path / "a.ckpt")
    assert Net.load_from_checkpoint(tmp_path / "a.ckpt").layer.weight.equal(net.layer.weight)
    pickle.dumps(net)


class Copies(th.Callback):
    """Copies the module in the middle of a run, as averages of weights do."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.copied = copy.deepcopy(pl_module)
            self.pickled = pickle.loads(pickle.dumps(pl_module))


def test_a_copy_calls_its_own_weights() -> None:
    copies, net = Copies(), Net()
    trainer(max_epochs=1, callbacks=[copies]).fit(torch.compile(net, backend=Counting()), train())  # type: ignore[arg-type]
    for copied in (copies.copied, copies.pickled):
        nn.init.zeros_(copied.layer.weight)
        nn.init.zeros_(copied.layer.bias)
        assert not copied(torch.ones(1, 4)).any()
    assert net(torch.ones(1, 4)).any()


def test_optimizers_by_hand() -> None:
    backend, plain, net = Counting(), ByHand(), ByHand()
    for module in (plain, torch.compile(net, backend=backend)):
        th.seed_everything(1, verbose=False)
        trainer().fit(module, train())  # type: ignore[arg-type]
    assert backend.runs > 20
    assert backend.graphs < 12
    assert net.seen == plain.seen == [(True, False), (False, True)] * 20
    assert torch.equal(net.layer.weight, plain.layer.weight)
    assert torch.equal(net.other.weight, plain.other.weight)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_step_that_was_put_on_the_instance() -> None:
    backend, net = Counting(), Net()
    put = net.training_step
    net.training_step = lambda batch, batch_idx: put(batch, batch_idx) * 3  # type: ignore[method-assign]
    mine = net.training_step
    trainer(max_epochs=1).fit(torch.compile(net, backend=backend), train())  # type: ignore[arg-type]
    assert backend.runs >= 10
    assert net.training_step is mine


class Tells(Net):
    """Counts steps in which it was compiled, in a buffer, which comes back from other processes."""

    compiled: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("compiled", torch.zeros(()))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.compiled += torch.compiler.is_compiling()
        return functional.mse_loss(self(batch[0]), batch[1])


def test_processes_that_a_launcher_makes_run_it_compiled() -> None:
    net = Tells()
    made = trainer(max_epochs=1, strategy="ddp_fork", devices=2)
    made.fit(torch.compile(net, backend="eager"), train())  # type: ignore[arg-type]
    assert net.compiled == 5


def test_a_failure_leaves_nothing_behind() -> None:
    class Fails(Net):
        def on_train_epoch_end(self) -> None:
            raise RuntimeError("no more")

    net = Fails()
    with pytest.raises(RuntimeError, match="no more"):
        trainer().fit(torch.compile(net, backend=Counting()), train())  # type: ignore[arg-type]
    assert "training_step" not in vars(net)
    assert "log" not in vars(net)


CASES: dict[str, tuple[str, Callable[[], Any]]] = {
    "ddp": ("nothing", lambda: "ddp"),
    "layers": ("layers", lambda: ModelParallelStrategy(tensor_parallel_size=1)),
    "the module itself": ("whole", lambda: ModelParallelStrategy(tensor_parallel_size=1)),
    "by name": ("nothing", lambda: "fsdp"),
    "by a policy": ("nothing", lambda: FSDPStrategy(auto_wrap_policy={nn.Linear})),
}


def _compiled(rank: int, names: list[str]) -> list[str]:
    found = []
    for name in names:
        how, strategy = CASES[name]
        torch._dynamo.reset()
        backend, module = Counting(), Sharded(how)
        expected = fit(Sharded("nothing"), "ddp")
        compiled: Any = torch.compile(module, backend=backend)
        got = fit(compiled, strategy())
        found += [f"{name}, {said}" for said in differences(got, expected)]
        if backend.runs < len(module.losses):
            found.append(f"{name}: {backend.runs} runs of {backend.graphs} graphs in {len(module.losses)} steps")
        # A second run of the same module, which is sharded already; plain this time.
        runs = backend.runs
        fit(module, strategy())
        if backend.runs != runs:
            found.append(f"{name}: compiled though it was not asked for")
    return found


def test_ranks_run_compiled(tmp_path: Path) -> None:
    assert run_ranks(_compiled, 2, tmp_path, list(CASES)) == [[]] * 2
