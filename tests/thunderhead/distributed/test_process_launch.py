"""Ranks as children of the process that holds the Trainer: what comes back, what fails, and that nobody is left."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # a run needs it, and forked ranks then need not import it each
import torch.distributed as dist
from trainer_models import QUIET, Net, bits, in_order, regression, shuffled
from trainer_ranks import threads_of_gloo

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint
from thunderhead.core.ending import SIGTERMException
from thunderhead.distributed.environment import ProcessRank
from thunderhead.distributed.leave import leave_group
from thunderhead.distributed.process_launch import ChildTraceback, ProcessLauncher
from thunderhead.strategies import DDPStrategy

HERE = str(Path(__file__).parents[1])


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", HERE)


class Counting(th.Callback):
    """State that comes back."""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.batches += 1

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches = state_dict["batches"]


def test_what_comes_back_from_a_fork(tmp_path: Path) -> None:
    th.seed_everything(3, verbose=False)
    net, counting = Net(), Counting()
    before = bits(net)
    checkpoint = ModelCheckpoint(monitor="val_loss", dirpath=tmp_path / "kept")
    options = {**QUIET, "enable_checkpointing": True, "callbacks": [counting, checkpoint], "max_epochs": 2}
    trainer = th.Trainer(**options, strategy="ddp_fork", devices=2)
    trainer.fit(net, shuffled(regression(64)), in_order())
    assert bits(net) != before
    assert (trainer.global_step, trainer.current_epoch, counting.batches) == (8, 2, 8)
    assert trainer.state.finished
    assert Path(checkpoint.best_model_path).parent == tmp_path / "kept"
    assert checkpoint.best_model_score == pytest.approx(
        min(trainer.callback_metrics["val_loss"], checkpoint.best_model_score)
    )
    saved = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert set(saved["state_dict"]) == set(before)
    # The parent is a Trainer like any other afterwards: it can be asked, save, and run again.
    assert trainer.log_dir == str(tmp_path)
    trainer.save_checkpoint(tmp_path / "mine.ckpt", weights_only=True)
    assert trainer.validate(net, in_order(), verbose=False)[0]["val_loss"] > 0
    with pytest.raises(th.MisconfigurationException, match="return_predictions=True"):
        trainer.predict(net, in_order(), return_predictions=True)


def test_a_fork_leaves_the_garbage_of_its_parent_alone() -> None:
    """To free a group means to wait for its threads, which a fork has not."""
    gc.disable()
    try:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        cycle: list[Any] = [dist.group.WORLD]
        cycle.append(cycle)
        dist.destroy_process_group()
        del cycle
        trainer = th.Trainer(**QUIET, max_epochs=1, strategy="ddp_fork", devices=2)
        trainer.fit(Net(), shuffled(regression(16)))
        assert trainer.global_step == 1
    finally:
        gc.enable()
        gc.collect()


class TellingOfThreads(th.Callback):
    """Writes down which threads of gloo's a rank has as its interpreter begins to end; a fork's does not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def setup(self, trainer: th.Trainer, pl_module: th.LightningModule, stage: str) -> None:
        atexit.register(self._tell, trainer.global_rank)

    def _tell(self, rank: int) -> None:
        (self.directory / f"threads{rank}").write_text(" ".join(threads_of_gloo(none=True)))


@pytest.mark.slow  # two fresh interpreters import torch
def test_a_spawn_trains_as_a_script_does(tmp_path: Path) -> None:
    """The same bits from both, for a spawned process has the parent's random state too."""
    found = {}
    for method in ("spawn", "fork"):
        th.seed_everything(3, verbose=False)
        net = Net()
        strategy, telling = DDPStrategy(start_method=method), TellingOfThreads(tmp_path)
        trainer = th.Trainer(**QUIET, max_epochs=1, strategy=strategy, devices=2, callbacks=[telling])
        trainer.fit(net, shuffled(regression(32)), in_order())
        found[method] = bits(net)
        assert trainer.global_step == 2
    assert found["spawn"] == found["fork"]
    # One that is still at work while the interpreter ends can abort the process.
    assert [(tmp_path / f"threads{rank}").read_text() for rank in range(2)] == ["", ""]


class Failing(Net):
    """Rank 1 fails in its second batch; rank 0 would wait for it."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 1 and self.trainer.global_rank == 1:
            raise LookupError("no such sample")
        return super().training_step(batch, batch_idx)


class Dying(Net):
    """Rank 1 is killed, as for want of memory."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 1 and self.trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, batch_idx)


def test_an_error_of_a_child_is_raised_here() -> None:
    trainer = th.Trainer(**QUIET, strategy="ddp_fork", devices=2, max_epochs=1)
    with pytest.raises(LookupError, match="no such sample") as raised:
        trainer.fit(Failing(), shuffled(), in_order())
    assert isinstance(raised.value.__cause__, ChildTraceback)
    assert "in rank 1" in str(raised.value.__cause__)
    assert "test_process_launch.py" in str(raised.value.__cause__)
    assert trainer.interrupted
    _nobody_left(trainer)


def test_a_death_without_a_word_is_told() -> None:
    trainer = th.Trainer(**QUIET, strategy="ddp_fork", devices=2, max_epochs=1)
    with pytest.raises(RuntimeError, match="rank 1 was ended by SIGKILL, without an exception"):
        trainer.fit(Dying(), shuffled(), in_order())
    _nobody_left(trainer)


def test_a_fork_is_in_no_group_of_its_parent() -> None:
    try:
        th.Trainer(**QUIET, strategy="ddp", devices=1, max_epochs=1).fit(Net(), shuffled())
        assert dist.is_initialized()
        trainer = th.Trainer(**QUIET, strategy="ddp_fork", devices=2, max_epochs=1)
        trainer.fit(Net(), shuffled())
        assert trainer.global_step == 3
        assert dist.is_initialized()
    finally:
        leave_group()
    _nobody_left(trainer)


def _nobody_left(trainer: th.Trainer) -> None:
    launcher = trainer.strategy.launcher
    assert isinstance(launcher, ProcessLauncher)
    assert len(launcher.processes) == 2
    assert not any(process.is_alive() for process in launcher.processes)


class Unsendable(Exception):
    """An exception that cannot be made again from its arguments."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def _raise(place: ProcessRank, payload: Any) -> None:
    raise Unsendable(1, 2)


def test_an_exception_that_cannot_be_sent_is_quoted() -> None:
    with pytest.raises(RuntimeError, match="rank 0 raised Unsendable: 1 and 2"):
        ProcessLauncher(ProcessRank(local_world_size=1), "fork").launch(_raise, None)


def _raise_at_length(place: ProcessRank, lengths: list[int]) -> None:
    raise LookupError("x" * lengths[place.local_rank])


@pytest.mark.parametrize("lengths", [[70_000], [10, 3_000_000], [3_000_000, 3_000_000, 10]], ids=str)
def test_an_error_may_be_longer_than_a_pipe_is(lengths: list[int]) -> None:
    """As load_state_dict's of a large model is, which lists every key; a child cannot end before it is read."""
    launcher = ProcessLauncher(ProcessRank(local_world_size=len(lengths)), "fork")
    with pytest.raises(LookupError, match=r"^x+$") as raised:
        launcher.launch(_raise_at_length, lengths)
    assert len(str(raised.value)) in lengths
    assert not any(process.is_alive() for process in launcher.processes)


def test_what_cannot_be_pickled_is_said() -> None:
    trainer = th.Trainer(**QUIET, strategy="ddp_spawn", devices=2, max_epochs=1)
    net = Net()
    net.function = lambda: None  # type: ignore[assignment]
    with pytest.raises(th.MisconfigurationException, match=r"cannot be pickled .*use strategy='ddp'"):
        trainer.fit(net, shuffled(), in_order())


def test_an_end_by_sigterm_goes_to_the_parent_as_it_is() -> None:
    again = pickle.loads(pickle.dumps(SIGTERMException()))
    assert (type(again), again.code) == (SIGTERMException, 143)


def test_a_fork_after_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(th.MisconfigurationException, match="after cuda was used in this process"):
        ProcessLauncher(ProcessRank(local_world_size=2), "fork").launch(_raise, None)


def test_several_nodes_need_a_meeting_point() -> None:
    with pytest.raises(th.MisconfigurationException, match="without MASTER_ADDR"):
        ProcessLauncher(ProcessRank(world_size=4, local_world_size=2), "spawn", {})


class Telling(th.Callback):
    """Says in files who trains, and what ended it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 2:
            draft = self.directory / f"draft{trainer.global_rank}"
            draft.write_text(str(os.getpid()))
            draft.rename(self.directory / f"pid{trainer.global_rank}")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        (self.directory / f"end{trainer.global_rank}").write_text(type(exception).__name__)


def _train_without_end(directory: Path) -> None:
    # Even a test that is ended hard leaves nobody: the parent gives up, and its children end with it.
    signal.alarm(100)
    trainer = th.Trainer(**QUIET, strategy="ddp_fork", devices=2, max_epochs=-1, callbacks=[Telling(directory)])
    trainer.fit(Net(), shuffled(regression(64)))


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[BaseProcess]:
    """A process that holds a Trainer whose two ranks train for ever; it is forked, which saves importing torch."""
    process = multiprocessing.get_context("fork").Process(target=_train_without_end, args=(tmp_path,))
    process.start()
    yield process
    process.kill()
    process.join()
    for rank in range(2):
        pid = tmp_path / f"pid{rank}"
        if pid.exists() and _alive(int(pid.read_text())):
            os.kill(int(pid.read_text()), signal.SIGKILL)


# multiprocessing makes 1 of a KeyboardInterrupt.
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_signals_to_the_parent_end_all(tmp_path: Path, parent: BaseProcess, number: signal.Signals, code: int) -> None:
    pids = [int(_appearing(tmp_path / f"pid{rank}")) for rank in range(2)]
    assert parent.pid is not None
    os.kill(parent.pid, number)
    parent.join(60)
    assert parent.exitcode == code
    _until(lambda: not any(_alive(pid) for pid in pids))
    if number != signal.SIGKILL:
        assert [(tmp_path / f"end{rank}").read_text() for rank in range(2)] == ["SIGTERMException"] * 2


def _end_when_told(place: ProcessRank, directory: Path) -> None:
    """As ranks do that SIGTERM reached inside of a fit: rank 1 ends at once, rank 0 once its callbacks have saved."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    (directory / f"pid{place.rank}").write_text(str(os.getpid()))
    _until(lambda: told)
    if place.rank == 0:
        _until(lambda: not _alive(int((directory / "pid1").read_text())))
        with suppress(AssertionError):  # that nothing comes is no event
            _until(lambda: len(told) > 1, 0.5)
        (directory / "end0").write_text("told again" if len(told) > 1 else "in peace")
    raise SIGTERMException


def _launch(directory: Path) -> None:
    ProcessLauncher(ProcessRank(local_world_size=2), "fork").launch(_end_when_told, directory)


def test_who_was_told_to_end_is_not_told_again(tmp_path: Path) -> None:
    """The loop takes a note of the first SIGTERM; a second one would end a rank in the midst of its callbacks."""
    process = multiprocessing.get_context("fork").Process(target=_launch, args=(tmp_path,))
    process.start()
    assert process.pid is not None
    for rank in range(2):
        _appearing(tmp_path / f"pid{rank}")
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143
    assert (tmp_path / "end0").read_text() == "in peace"


def _appearing(path: Path) -> str:
    _until(path.exists)
    return path.read_text()


def _until(condition: Any, seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
