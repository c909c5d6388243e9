"""What a job checkpoint holds, beside what a file of the same moment holds; and checkpoints of before are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from run_records import Plain, Records, run_of, training_of
from torch.utils.data import DataLoader
from trainer_job import MemoryLink
from trainer_models import QUIET

import thunderhead as th
from thunderhead import job
from thunderhead.checkpoint import content
from thunderhead.checkpoint.of_job import job_parts
from thunderhead.core.position import Next, Position
from thunderhead.job.link import CheckpointPolicy
from thunderhead.job.parts import LOCAL, REPLICATED, Parts, parts_of
from thunderhead.loops.evaluate import EvaluationLoop
from thunderhead.loops.fit import FitLoop
from thunderhead.results.metrics import Metrics
from thunderhead.results.results import Results
from thunderhead.rng import capture_rng
from thunderhead.run.run import Run
from thunderhead.run.training import Training

BATCHES = DataLoader(torch.tensor([1.0, 2.0, 4.0]), batch_size=1)
GROUP = {
    "lr": 1.0,
    "momentum": 0,
    "dampening": 0,
    "weight_decay": 0,
    "nesterov": False,
    "maximize": False,
    "foreach": None,
    "differentiable": False,
    "fused": None,
}


def of_the_first_release() -> Parts:
    """After two of three batches, as the first release saved it: no settings, no counters, no ``non_finite_step``."""
    replicated = {
        "epoch": 0,
        "global_step": 2,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {"weight": torch.tensor([-3.0])},
        "optimizer_states": [{"state": {}, "param_groups": [{**GROUP, "params": [0]}]}],
        "lr_schedulers": [],
        "position": {
            "epoch": 0,
            "batch": 2,
            "batches": 2,
            "step": 2,
            "log_step": 2,
            "samples": 0,
            "next": "batch",
        },
        "should_stop": False,
    }
    random = capture_rng()
    shapes = [{"batch_size": 1, "batches": 3, "order": "SequentialSampler", "samples": 3}]
    record = {"fresh": True, "own": [], "torch": random["torch"]}
    local = {
        "rng": random,
        "data": {
            "feeds": [{"record": record, "taken": 2, "begun": True, "state": None}],
            "ahead": None,
            "joint": None,
            "shapes": shapes,
            "samples": 2,
            "ended": False,
        },
        "validation_data": None,
        "results": [],
        "metrics": {"log": {"loss": (-2.0, "float32")}, "callback": {}, "bar": {}},
        "buffers": {},
        "threads": torch.get_num_threads(),
        "content": {"callbacks": {"Counts": {"seen": 2}}},
    }
    return parts_of(replicated, local)


class Counts(th.Callback):
    """How many batches it has seen."""

    seen = 0

    def on_train_batch_end(self, *_: Any) -> None:
        """One more."""
        self.seen += 1

    @property
    def state_key(self) -> str:
        """As in what was saved."""
        return "Counts"

    def state_dict(self) -> dict[str, Any]:
        """What is saved."""
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self.seen = state["seen"]


class Weight(th.LightningModule):
    """One weight, which SGD with a rate of 1 lowers by each batch's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any) -> Any:
        """The loss."""
        return (self.weight * batch.mean()).sum()

    def configure_optimizers(self) -> Any:
        """SGD with a rate of 1."""
        return torch.optim.SGD(self.parameters(), 1.0)


@pytest.fixture(autouse=True)
def _detach() -> Iterator[None]:
    yield
    job.attach(None)


def test_a_checkpoint_of_the_first_release_is_gone_on_from(tmp_path: Path) -> None:
    job.attach(MemoryLink(tmp_path, {2: of_the_first_release()}))
    module, counts = Weight(), Counts()
    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=[counts])
    trainer.fit(module, BATCHES)
    assert (module.weight.item(), trainer.global_step, counts.seen) == (-7.0, 3, 3)


def test_the_first_release_finds_what_it_reads_where_it_looks(tmp_path: Path) -> None:
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=2))
    job.attach(link)
    th.Trainer(**QUIET, max_epochs=1, callbacks=[Counts()]).fit(Weight(), BATCHES)
    before, now = of_the_first_release(), link.checkpoints.commits[2]
    assert now.keys() == before.keys()
    for name, more in ((REPLICATED, {"settings"}), (LOCAL, {"counters", "loops", "non_finite_step"})):
        assert now[name].kind is before[name].kind
        assert now[name].tree.keys() - more == before[name].tree.keys()
    replicated, expected = now[REPLICATED].tree, before[REPLICATED].tree
    for key in expected:
        assert replicated[key] == expected[key], key
    local, own = now[LOCAL].tree, before[LOCAL].tree
    assert local["content"] == own["content"]
    assert {key: local["data"][key] for key in own["data"] if key != "feeds"} == {
        key: own["data"][key] for key in own["data"] if key != "feeds"
    }
    assert [feed.keys() for feed in local["data"]["feeds"]] == [feed.keys() for feed in own["data"]["feeds"]]


def trained(log: Records) -> tuple[Run, Training]:
    """Two of three batches."""
    run = run_of(Plain(), log, loaders=BATCHES, max_epochs=1, max_steps=2)
    training = training_of(run)
    FitLoop(run, training, EvaluationLoop(run, training, training.validation)).run()
    return run, training


def test_a_file_and_a_job_hold_one_capture() -> None:
    run, training = trained(Records())
    position = Position(batch=2, batches=2, step=2, log_step=2, next=Next.BATCH)
    file = content.dump(run, training, position)
    parts = job_parts(run, training, position, should_stop=True)
    replicated, local = parts[REPLICATED].tree, parts[LOCAL].tree
    own = file[content.OWN_KEY]
    alike = ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "optimizer_states", "lr_schedulers")
    assert {key: replicated[key] for key in alike} == {key: file[key] for key in alike}
    assert (replicated["position"], replicated["settings"]) == (own["position"], own["settings"])
    assert local["content"] == {"callbacks": file["callbacks"]}
    assert local["loops"] == file["loops"]
    for key in ("results", "metrics", "counters", "validation_data"):
        assert local[key] == own[key], key
    assert repr(local["data"]) == repr(own["data"])
    assert repr(local["rng"]) == repr(own["random"])
    assert replicated["should_stop"] is True


@pytest.mark.parametrize("what", ["file", "job"])
def test_everything_is_asked_once(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    run, training = trained(Records())
    asked: Counter[str] = Counter()

    def count(kind: type, method: str) -> None:
        plain = getattr(kind, method)

        def counted(self: Any, *args: Any, **options: Any) -> Any:
            asked[kind.__name__] += 1
            return plain(self, *args, **options)

        monkeypatch.setattr(kind, method, counted)

    for kind in (Plain, torch.optim.SGD, Results, Metrics):
        count(kind, "state_dict")
    if what == "file":
        content.dump(run, training, training.position)
    else:
        job_parts(run, training, training.position, should_stop=False)
    assert asked == {"Plain": 1, "SGD": 1, "Results": 1, "Metrics": 1}


def test_what_hooks_draw_is_drawn_for_who_goes_on_from_a_job() -> None:
    """A run that was not interrupted goes on after its hooks."""

    class Draws(Plain):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            torch.rand(3)

    run = run_of(Draws(), loaders=BATCHES, max_epochs=1)
    training = training_of(run)
    parts = job_parts(run, training, training.position, should_stop=False)
    assert torch.equal(parts[LOCAL].tree["rng"]["torch"], torch.get_rng_state())
