"""A run that was stopped and resumed equals one that was not, bit for bit, wherever it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_job import Losses, MemoryLink, StopAt
from trainer_models import QUIET, Net, Noisy, bits, in_order, regression, shuffled

import thunderhead as th
from thunderhead import job
from thunderhead.job.errors import Stopped
from thunderhead.job.link import Ask, CheckpointPolicy
from thunderhead.job.parts import Parts
from thunderhead.job.stop import boundary_tick, evaluation_tick


@pytest.fixture(autouse=True)
def _detach() -> Iterator[None]:
    yield
    job.attach(None)


Run = tuple[dict[str, bytes], list[tuple[int, int, str]], dict[str, float]]


def train(
    link: MemoryLink, loader: Callable[[], Any], arguments: dict[str, Any], module: dict[str, Any], losses: Losses
) -> Run:
    """One execution, from scratch as a new process would: seed, build, fit."""
    job.attach(link)
    th.seed_everything(3, verbose=False)
    net = Net(**module)
    trainer = th.Trainer(**{**QUIET, "max_epochs": 3, **arguments}, callbacks=[losses])
    trainer.fit(net, loader(), in_order())
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return bits(net), losses.seen, metrics


def compare(
    tmp_path: Path,
    tick: int,
    loader: Callable[[], Any] = shuffled,
    arguments: dict[str, Any] | None = None,
    module: dict[str, Any] | None = None,
    policy: CheckpointPolicy | None = None,
) -> tuple[int, int]:
    """Run undisturbed, then stop at ``tick`` and resume: both must agree. The step committed, batches before it."""
    arguments, module = arguments or {}, module or {}
    whole = train(MemoryLink(tmp_path), loader, arguments, module, Losses())
    first = Losses()
    commits: dict[int, Parts] = {}
    with pytest.raises(Stopped):
        train(MemoryLink(tmp_path, commits, stop=StopAt(tick), policy=policy), loader, arguments, module, first)
    committed = max(commits)
    resumed = train(MemoryLink(tmp_path, commits), loader, arguments, module, Losses())
    assert first.seen + resumed[1] == whole[1]
    assert resumed[0] == whole[0]
    assert resumed[2] == whole[2]
    return committed, len(first.seen)


@pytest.mark.parametrize("step", range(15))
def test_every_step(tmp_path: Path, step: int) -> None:
    assert compare(tmp_path, boundary_tick(step)) == (step, step)


@pytest.mark.parametrize("step", [1, 3, 4, 6])
@pytest.mark.parametrize("scheduler", ["step", "epoch", "plateau"])
def test_with_accumulation_clipping_and_schedulers(tmp_path: Path, step: int, scheduler: str) -> None:
    """Five batches, two per step: the third step of an epoch has one batch only."""
    arguments = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}
    committed, batches = compare(tmp_path, boundary_tick(step), arguments=arguments, module={"scheduler": scheduler})
    assert committed == step
    assert batches == [0, 2, 4, 5, 7, 9, 10][step]


@pytest.mark.parametrize(("step", "batch"), [(2, 0), (2, 1), (4, 1), (5, None), (10, 0)])
def test_in_the_middle_of_validation(tmp_path: Path, step: int, batch: int | None) -> None:
    """Validation twice per epoch, after batches 2 and 4; an interrupted one starts over."""
    arguments = {"val_check_interval": 2}
    tick = evaluation_tick(step, 0, batch)
    assert compare(tmp_path, tick, arguments=arguments)[0] >= step


def test_validation_inside_an_accumulation_window_is_not_interrupted(tmp_path: Path) -> None:
    """Validation after batch 2 of windows of three: gradients are in no checkpoint, so the stop waits for step 1."""
    arguments = {"val_check_interval": 2, "accumulate_grad_batches": 3}
    assert compare(tmp_path, boundary_tick(0) + 1, arguments=arguments) == (1, 3)


@pytest.mark.parametrize(("workers", "persistent", "step"), [(1, False, 3), (2, True, 3), (2, True, 5), (2, True, 7)])
def test_with_loader_processes(tmp_path: Path, workers: int, persistent: bool, step: int) -> None:
    """Samples are random, and drawn in other processes, ahead of their use."""

    def loader() -> Any:
        return shuffled(Noisy(), num_workers=workers, persistent_workers=persistent)

    compare(tmp_path, boundary_tick(step), loader, {"max_epochs": 2, "num_sanity_val_steps": 0})


@pytest.mark.parametrize(
    "loader",
    [
        lambda: shuffled(Noisy()),
        lambda: shuffled(generator=torch.Generator().manual_seed(5)),
        lambda: torch.utils.data.DataLoader(
            regression(),
            batch_size=8,
            sampler=torch.utils.data.WeightedRandomSampler(torch.arange(1, 41).float(), 40),
        ),
        lambda: torch.utils.data.DataLoader(regression(), batch_size=8, sampler=Odd(40)),
        lambda: torch.utils.data.DataLoader(
            regression(), batch_sampler=torch.utils.data.BatchSampler(Odd(40), 8, drop_last=True)
        ),
        lambda: torch.utils.data.DataLoader(regression(), batch_sampler=Buckets()),
        lambda: torch.utils.data.DataLoader(regression(5), batch_size=None, shuffle=True),
        lambda: [shuffled(), shuffled(regression(24, seed=9))],
        lambda: th.CombinedLoader({"a": shuffled(), "b": shuffled(regression(64))}, "min_size"),
        lambda: Counted(),
        lambda: torch.utils.data.DataLoader(Stream(), batch_size=8),
    ],
    ids=[
        "random samples",
        "own generator",
        "weighted",
        "unknown sampler",
        "batch sampler",
        "own batch sampler",
        "unbatched",
        "two loaders",
        "combined",
        "stateful, no length",
        "iterable, no length",
    ],
)
def test_loaders(tmp_path: Path, loader: Callable[[], Any], recwarn: pytest.WarningsRecorder) -> None:
    for step in (0, 2, 6):
        compare(tmp_path, boundary_tick(step), loader, {"max_epochs": 2}, {"normalise": False, "scheduler": "none"})
    recwarn.clear()


class Odd(torch.utils.data.Sampler[int]):
    """Draws in its own way."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Iterator[int]:
        for _ in range(self.size):
            yield int(torch.randint(self.size, ()))

    def __len__(self) -> int:
        return self.size


class Buckets(torch.utils.data.Sampler[list[int]]):
    """Batches of different sizes, drawn in its own way."""

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(40).tolist()
        for start, end in ((0, 4), (4, 12), (12, 20), (20, 30), (30, 40)):
            yield order[start:end]

    def __len__(self) -> int:
        return 5


class Stream(torch.utils.data.IterableDataset[Any]):
    """An endless source cut off after 40 samples."""

    def __iter__(self) -> Iterator[Any]:
        yield from regression()


class Counted:
    """A loader with state and without a length."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[Any]:
        data = regression().tensors
        while self.at < 5:
            here = slice(8 * self.at, 8 * self.at + 8)
            self.at += 1
            yield tuple(part[here] for part in data)
        self.at = 0

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at = state["at"]


@pytest.mark.parametrize("every", [1, 2, 3, 7])
@pytest.mark.parametrize("crash_after", [1, 4, 5, 9])
def test_a_crash_falls_back_to_the_last_periodic_checkpoint(tmp_path: Path, every: int, crash_after: int) -> None:
    whole = train(MemoryLink(tmp_path), shuffled, {}, {}, Losses())
    commits: dict[int, Parts] = {}

    def die(trainer: Any) -> None:
        if trainer.global_step == crash_after:
            raise OSError("the disk is gone")

    link = MemoryLink(tmp_path, commits, policy=CheckpointPolicy(every_steps=every))
    with pytest.raises(OSError, match="the disk is gone"):
        train(link, shuffled, {}, {}, Losses(die))
    # The crash comes before the checkpoint of its own step.
    assert sorted(commits) == list(range(every, crash_after, every))
    resumed = train(MemoryLink(tmp_path, commits), shuffled, {}, {}, Losses())
    assert resumed[1] == whole[1][max([0, *range(every, crash_after, every)]) :]
    assert resumed[0] == whole[0]


def test_several_interruptions_in_a_row(tmp_path: Path) -> None:
    whole = train(MemoryLink(tmp_path), shuffled, {}, {}, Losses())
    commits: dict[int, Parts] = {}
    seen: list[Any] = []
    for step in (2, 2, 5, 11):
        losses = Losses()
        with pytest.raises(Stopped):
            train(MemoryLink(tmp_path, commits, stop=StopAt(boundary_tick(step))), shuffled, {}, {}, losses)
        seen += losses.seen
    resumed = train(MemoryLink(tmp_path, commits), shuffled, {}, {}, Losses())
    assert seen + resumed[1] == whole[1]
    assert resumed[0] == whole[0]


def test_periodic_saves_change_nothing(tmp_path: Path) -> None:
    whole = train(MemoryLink(tmp_path), shuffled, {}, {}, Losses())
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=1))
    assert train(link, shuffled, {}, {}, Losses()) == whole
    assert sorted(link.checkpoints.commits) == list(range(1, 16))


def test_without_a_job_the_result_is_the_same(tmp_path: Path) -> None:
    whole = train(MemoryLink(tmp_path), shuffled, {}, {}, Losses())
    assert train(None, shuffled, {}, {}, Losses()) == whole  # type: ignore[arg-type]  # no link at all


def test_a_complete_job_is_not_trained_again(tmp_path: Path) -> None:
    commits: dict[int, Parts] = {}
    whole = train(MemoryLink(tmp_path, commits), shuffled, {}, {}, Losses())
    again = train(MemoryLink(tmp_path, commits), shuffled, {}, {}, Losses())
    assert again[0] == whole[0]
    assert again[1] == []


def test_early_stopping_before_the_last_commit_still_holds_after_it(tmp_path: Path) -> None:
    """The checkpoint of the last step precedes the validation that ends training."""

    def stop_early() -> dict[str, Any]:
        return {"callbacks": [th.callbacks.EarlyStopping("val_loss", patience=1, min_delta=1e9)]}

    def run(commits: dict[int, Parts]) -> tuple[dict[str, bytes], int]:
        job.attach(MemoryLink(tmp_path, commits, policy=CheckpointPolicy(every_steps=5)))
        th.seed_everything(3, verbose=False)
        net = Net()
        trainer = th.Trainer(**QUIET, max_epochs=20, **stop_early())
        trainer.fit(net, shuffled(), in_order())
        return bits(net), trainer.global_step

    commits: dict[int, Parts] = {}
    whole = run(commits)
    assert whole[1] == 10
    assert run(commits) == whole


def test_the_agreed_save_goes_on(tmp_path: Path) -> None:
    whole = train(MemoryLink(tmp_path), shuffled, {}, {}, Losses())
    link = MemoryLink(tmp_path, stop=StopAt(boundary_tick(4), Ask.SAVE))
    assert train(link, shuffled, {}, {}, Losses()) == whole
    assert sorted(link.checkpoints.commits) == [4, 15]


def test_manual_optimisation(tmp_path: Path) -> None:
    """Two optimizers: every batch adds two steps."""

    class Manual(Net):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            one, other = self.optimizers()
            one.zero_grad()
            other.zero_grad()
            self.manual_backward(loss)
            one.step()
            other.step()
            return {"loss": loss.detach()}

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.net[0].parameters(), 0.05), torch.optim.Adam(self.net[3].parameters(), 0.05)]

    def run(link: MemoryLink) -> Any:
        job.attach(link)
        th.seed_everything(3, verbose=False)
        net, losses = Manual(), Losses()
        trainer = th.Trainer(**QUIET, max_epochs=2, callbacks=[losses])
        trainer.fit(net, shuffled(), in_order())
        return bits(net), losses.seen, trainer.global_step

    whole = run(MemoryLink(tmp_path))
    assert whole[2] == 20
    for step in (4, 10, 14):
        commits: dict[int, Parts] = {}
        with pytest.raises(Stopped):
            run(MemoryLink(tmp_path, commits, stop=StopAt(boundary_tick(step))))
        assert sorted(commits) == [step]
        resumed = run(MemoryLink(tmp_path, commits))
        assert resumed[0] == whole[0]
        assert resumed[1] == whole[1][step // 2 :]
