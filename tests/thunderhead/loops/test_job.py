"""What a job gets from a run: commits when they are due, signs of life, and an end that can be told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_job import MemoryLink, StopAt
from trainer_models import QUIET, Net, bits, in_order, shuffled

import thunderhead as th
from thunderhead import job
from thunderhead.data.source import TrainingData
from thunderhead.job.board import Phase, Word
from thunderhead.job.errors import Stopped, StorageRefused, UnsupportedState
from thunderhead.job.link import Ask, CheckpointPolicy
from thunderhead.job.parts import LOCAL
from thunderhead.job.stop import boundary_tick, evaluation_tick
from thunderhead.loops.job_control import JobControl, next_save_step
from thunderhead.results.results import Results


@pytest.fixture(autouse=True)
def _detach() -> Iterator[None]:
    yield
    job.attach(None)


def fit(link: MemoryLink, *callbacks: th.Callback, net: Net | None = None, **arguments: Any) -> th.Trainer:
    """Two epochs of five steps."""
    job.attach(link)
    th.seed_everything(1, verbose=False)
    trainer = th.Trainer(**{**QUIET, "max_epochs": 2, **arguments}, callbacks=list(callbacks))
    trainer.fit(net or Net(), shuffled(), in_order())
    return trainer


@pytest.mark.parametrize(
    ("every", "step", "due"),
    [(None, 0, 2**100), (5, 0, 5), (5, 4, 5), (5, 5, 10), (5, 6, 10), (1, 7, 8)],
)
def test_due_steps_are_multiples_whatever_was_saved(every: int | None, step: int, due: int) -> None:
    assert next_save_step(CheckpointPolicy(every_steps=every), step) == due


@pytest.mark.parametrize(
    ("policy", "steps"),
    [
        (CheckpointPolicy(), [10]),
        (CheckpointPolicy(every_steps=4), [4, 8, 10]),
        (CheckpointPolicy(every_steps=5), [5, 10]),
        (CheckpointPolicy(every_seconds=0.0), list(range(1, 11))),
        (CheckpointPolicy(every_seconds=3600.0), [10]),
        (CheckpointPolicy(every_steps=7, every_seconds=3600.0), [7, 10]),
    ],
)
def test_commits(tmp_path: Path, policy: CheckpointPolicy, steps: list[int]) -> None:
    link = MemoryLink(tmp_path, policy=policy)
    fit(link)
    assert sorted(link.checkpoints.commits) == steps
    assert link.checkpoints.closed == 1


def test_by_the_clock_rank_0_asks_and_the_agreement_names_the_step(tmp_path: Path) -> None:
    """With several ranks nobody saves by its own clock; the request is made once until it is met."""
    stop = StopAt()
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_seconds=3600.0), stop=stop)

    class Late(th.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            control = trainer._run.control
            if trainer.global_step == 3:
                control._save_at = 0  # the hour is over
                trainer.strategy.__class__ = type("Two", (type(trainer.strategy),), {"world_size": 2})
            if trainer.global_step == 5:
                trainer.strategy.__class__ = type(trainer.strategy).__mro__[1]

    fit(link, Late(), max_epochs=1, limit_val_batches=0)
    assert stop.requested == [Ask.SAVE]
    assert sorted(link.checkpoints.commits) == [5]


def test_phases(tmp_path: Path) -> None:
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=5))
    words = link.board.words
    seen: list[tuple[str, Phase]] = []

    class Looking(th.Callback):
        def on_fit_start(self, *_: Any) -> None:
            seen.append(("fit", Phase(words[Word.PHASE])))

        def on_train_batch_start(self, *_: Any) -> None:
            seen.append(("batch", Phase(words[Word.PHASE])))

        def on_validation_batch_start(self, *_: Any) -> None:
            seen.append(("validation", Phase(words[Word.PHASE])))

        def on_save_checkpoint(self, *_: Any) -> None:
            seen.append(("save", Phase(words[Word.PHASE])))

    fit(link, Looking(), max_epochs=1, num_sanity_val_steps=0)
    assert set(seen) == {
        ("fit", Phase.RESTORING),
        ("save", Phase.RESTORING),  # the dry run
        ("batch", Phase.TRAIN),
        ("save", Phase.CHECKPOINT),
        ("validation", Phase.VALIDATE),
    }
    assert words[Word.PHASE] == Phase.DONE


def test_repeated_steps_do_not_count_as_training(tmp_path: Path) -> None:
    link = MemoryLink(tmp_path)
    link.board.words[Word.REPEAT_UNTIL] = 10
    fit(link)
    assert link.board.words[Word.TRAINING_NS] == 0
    assert link.board.words[Word.REPEATED_NS] > 0
    other = MemoryLink(tmp_path)
    fit(other)
    assert other.board.words[Word.TRAINING_NS] > 0
    assert other.board.words[Word.REPEATED_NS] == 0
    assert other.board.words[Word.RESTORING_NS] == 0
    again = MemoryLink(tmp_path, other.checkpoints.commits)
    fit(again)
    assert again.board.words[Word.RESTORING_NS] > 0


def test_metrics_are_published(tmp_path: Path) -> None:
    link = MemoryLink(tmp_path)
    trainer = fit(link)
    found = link.board.metrics()
    assert found["lr"] == trainer.optimizers[0].param_groups[0]["lr"]
    assert {"train_loss_epoch", "val_loss", "samples_per_second"} <= set(found)
    assert found["val_loss"] == trainer.callback_metrics["val_loss"].item()


def test_a_last_look_without_a_new_sample_does_not_call_the_run_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "thunderhead.loops.job_control._PUBLISH_EVERY_NS", 0
    )  # after the last step, and once more at the end
    link = MemoryLink(tmp_path)
    fit(link)
    assert link.board.metrics()["samples_per_second"] > 0


def test_more_values_than_there_is_room_for_end_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Names of a length that 200 of them do not fit; what is watched, validated or a loss is told, and what is not."""

    class Talkative(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            for index in range(200):
                self.log(f"per_class_accuracy/{index:03d}/a_class_of_some_longer_name_than_this", loss.detach())
            self.log("z" * 20_000, loss.detach())
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.log_dict({"zz_accuracy": 0.5, "zzz_watched": 0.5})

    link = MemoryLink(tmp_path)
    trainer = fit(link, th.callbacks.EarlyStopping("zzz_watched", patience=9), net=Talkative())
    assert trainer.global_step == 10
    found = link.board.metrics()
    assert len(found) == 32
    assert {"val_loss", "train_loss_epoch", "zz_accuracy", "zzz_watched"} <= set(found)
    assert "lr" not in found
    assert link.board.notes()["left_out"] > 150
    (said,) = [record.message for record in caplog.records if "left out" in record.message]
    assert "32 logged values are told in status and /metrics" in said
    assert said.endswith(" more")


@pytest.mark.parametrize("rate", ["fast", None, 10**400, torch.ones(3)])
def test_a_learning_rate_that_is_no_number_ends_nothing(tmp_path: Path, rate: Any) -> None:
    class Odd(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            self.param_groups[0]["lr"] = 0.1
            found = super().step(closure)
            self.param_groups[0]["lr"] = rate
            return found

    class Rated(Net):
        def configure_optimizers(self) -> Any:
            return Odd(self.parameters(), lr=0.1)

    link = MemoryLink(tmp_path)
    link.checkpoints.check = lambda *_: None  # type: ignore[method-assign]
    link.checkpoints.save = lambda *_, **__: None  # type: ignore[method-assign]
    fit(link, net=Rated())
    assert "lr" not in link.board.metrics()


def test_state_that_cannot_be_restored_is_refused_before_the_first_step(tmp_path: Path) -> None:
    class Opaque(th.Callback):
        trained = 0

        def state_dict(self) -> dict[str, Any]:
            return {"lock": object()}

        def on_train_batch_start(self, *_: Any) -> None:
            self.trained += 1

    opaque = Opaque()
    with pytest.raises(UnsupportedState, match="lock"):
        fit(MemoryLink(tmp_path), opaque)
    assert opaque.trained == 0


def test_a_commit_that_fails_ends_the_run(tmp_path: Path) -> None:
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=2))

    def refuse(*_: Any, **__: Any) -> None:
        raise StorageRefused("access denied")

    link.checkpoints.save = refuse  # type: ignore[method-assign]
    told = []

    class Hearing(th.Callback):
        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            told.append(exception)

    with pytest.raises(StorageRefused, match="access denied"):
        fit(link, Hearing())
    assert len(told) == 1


def test_a_checkpoint_that_the_store_does_not_take_is_skipped_and_noted(tmp_path: Path) -> None:
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=2))
    link.checkpoints.away = {4, 6}
    noted: dict[int, dict[str, Any]] = {}

    class Looking(th.Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            noted[trainer.global_step] = link.board.notes()

    fit(link, Looking(), limit_val_batches=0)
    assert sorted(link.checkpoints.commits) == [2, 8, 10]
    assert noted[3] == {}
    assert noted[4] == {"skipped": 1, "skipped_in_a_row": 1, "why_skipped": "the store is away"}
    assert noted[6] == {"skipped": 2, "skipped_in_a_row": 2, "why_skipped": "the store is away"}
    assert noted[9] == {"skipped": 2, "skipped_in_a_row": 0, "why_skipped": ""}


def test_when_the_store_is_back_the_same_step_may_be_saved_again(tmp_path: Path) -> None:
    """Asked for by who noticed: the agreed moment may be the very step that was skipped."""
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=4), stop=StopAt(boundary_tick(4), Ask.SAVE))
    link.checkpoints.away = {4}
    fit(link)
    assert sorted(link.checkpoints.commits) == [4, 8, 10]


def test_only_the_commits_at_the_ends_are_waited_for(tmp_path: Path) -> None:
    """A stop for the grace period, the end of training for as long as stated; in between the run goes on without."""
    policy = CheckpointPolicy(every_steps=4, stop_seconds=77.0, last_seconds=55.0)
    link = MemoryLink(tmp_path, policy=policy)
    fit(link)
    assert link.checkpoints.patience == {4: 0.0, 8: 0.0, 10: 55.0}
    stopped = MemoryLink(tmp_path, policy=policy, stop=StopAt(boundary_tick(3)))
    with pytest.raises(Stopped):
        fit(stopped)
    assert stopped.checkpoints.patience == {3: 77.0}


def test_a_stop_is_no_failure(tmp_path: Path) -> None:
    """Callbacks that act on failures are not told, but everything is closed."""
    told: list[str] = []

    class Hearing(th.Callback):
        def on_exception(self, *_: Any) -> None:
            told.append("exception")

        def teardown(self, *_: Any) -> None:
            told.append("teardown")

    link = MemoryLink(tmp_path, stop=StopAt(boundary_tick(3)))
    with pytest.raises(Stopped, match="after step 3; its checkpoint is committed"):
        fit(link, Hearing())
    assert told == ["teardown"]
    assert link.board.words[Word.PHASE] == Phase.STOPPING
    assert link.checkpoints.closed == 1


def test_a_time_limit_that_all_ranks_agreed_on_completes_the_run(tmp_path: Path) -> None:
    link = MemoryLink(tmp_path, stop=StopAt(boundary_tick(7), Ask.FINISH))
    trainer = fit(link)
    assert trainer.global_step == 7
    assert sorted(link.checkpoints.commits) == [7]


@pytest.mark.parametrize("fn", ["validate", "test", "predict"])
def test_other_commands_take_the_committed_weights(tmp_path: Path, fn: str) -> None:
    class All(Net):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("test_loss", self(batch[0]).mean())

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch[0])

    commits: dict[int, Any] = {}
    trained = All()
    fit(MemoryLink(tmp_path, commits), net=trained)
    fresh = All()
    assert bits(fresh) != bits(trained)
    link = MemoryLink(tmp_path, commits)
    job.attach(link)
    getattr(th.Trainer(**QUIET), fn)(fresh, in_order())
    assert bits(fresh) == bits(trained)
    assert sorted(commits) == [10]
    assert link.board.words[Word.PHASE] == Phase.DONE


def test_other_commands_stop_with_nothing_to_commit(tmp_path: Path) -> None:
    link = MemoryLink(tmp_path, stop=StopAt(evaluation_tick(0, 0, 1)))
    job.attach(link)
    with pytest.raises(Stopped, match="nothing to commit"):
        th.Trainer(**QUIET).validate(Net(), in_order(batch_size=4), verbose=False)
    assert link.checkpoints.commits == {}


def test_threads_are_those_of_the_run_that_is_resumed(tmp_path: Path) -> None:
    commits: dict[int, Any] = {}
    torch.set_num_threads(2)
    with pytest.raises(Stopped):
        fit(MemoryLink(tmp_path, commits, stop=StopAt(boundary_tick(3))))
    torch.set_num_threads(1)
    with pytest.warns(UserWarning, match="using 2 threads, as the run being resumed did, instead of 1"):
        fit(MemoryLink(tmp_path, commits))
    assert torch.get_num_threads() == 2


def test_a_file_is_only_where_nothing_was_committed(tmp_path: Path) -> None:
    """ckpt_path starts the first attempt; later ones have commits of their own."""
    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Net(), shuffled(), in_order())
    trainer.save_checkpoint(tmp_path / "start.ckpt")
    commits: dict[int, Any] = {}
    for expected in (5, 10):
        job.attach(MemoryLink(tmp_path, commits, stop=StopAt(boundary_tick(expected + 2))))
        net = Net()
        second = th.Trainer(**QUIET, max_epochs=4)
        with pytest.raises(Stopped):
            second.fit(net, shuffled(), in_order(), ckpt_path=tmp_path / "start.ckpt")
        assert second.global_step == expected + 2
        assert max(commits) == expected + 2


def test_a_save_asks_loaders_and_values_for_their_state_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stateful loader may take long to tell it, and every logged value is copied."""
    asked: Counter[str] = Counter()

    def count(kind: type, method: str, name: str) -> None:
        plain = getattr(kind, method)

        def counted(self: Any, *args: Any, **options: Any) -> Any:
            asked[name] += 1
            return plain(self, *args, **options)

        monkeypatch.setattr(kind, method, counted)

    class Seeing(th.Callback):
        keys: frozenset[str] = frozenset()

        def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
            self.keys = frozenset(checkpoint)

    count(JobControl, "state", "saves")
    count(TrainingData, "state_dict", "loaders")
    count(Results, "state_dict", "values")
    seeing, link = Seeing(), MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=2))
    fit(link, seeing)
    assert asked["saves"] >= len(link.checkpoints.commits)
    assert asked["loaders"] == asked["values"] == asked["saves"]
    assert "thunderhead" not in seeing.keys | set(link.checkpoints.commits[10][LOCAL].tree["content"])
