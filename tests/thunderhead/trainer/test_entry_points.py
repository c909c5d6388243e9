"""Entry points from outside: which module and checkpoint they take, what they refuse, and how they end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_line import Line, numbers, trainer
from trainer_models import QUIET

import thunderhead as th
from thunderhead.callbacks import Callback, ModelCheckpoint, OnExceptionCheckpoint
from thunderhead.core.state import TrainerFn, TrainerStatus
from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers import Logger


class Whole(Line):
    """With all evaluation steps; a test tells the weight."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the weight."""
        self.log("weight", self.weight)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """The weight."""
        return self.weight.detach().clone()


class Worsening(Whole):
    """Scores worse in each epoch."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """The number of the epoch."""
        self.log("score", float(self.current_epoch))


def saving(directory: Path, *callbacks: Callback) -> th.Trainer:
    """A trainer of three epochs that keeps the best."""
    best = ModelCheckpoint(directory, monitor="score", filename="{epoch}")
    quiet = {**QUIET, "enable_checkpointing": None, "max_epochs": 3, "num_sanity_val_steps": 0}
    return th.Trainer(**quiet, callbacks=[*callbacks, best])


@pytest.mark.parametrize("fn", ["validate", "test", "predict"])
def test_without_a_module_the_best_of_the_last_fit_is_taken_with_a_word(tmp_path: Path, fn: str) -> None:
    """Also where another callback that saves, and has no best one, comes first."""
    made, module = saving(tmp_path, OnExceptionCheckpoint(tmp_path)), Worsening()
    made.fit(module, numbers(1), numbers(0))
    assert module.weight.item() == -3
    with pytest.warns(UserWarning, match=rf"Trainer.{fn} got neither a module nor a checkpoint.*ckpt_path='best'"):
        getattr(made, fn)(dataloaders=numbers(0))
    assert module.weight.item() == -1
    assert made.ckpt_path == str(tmp_path / "epoch=0.ckpt")


def test_a_module_is_run_as_it_is(tmp_path: Path) -> None:
    made, module = saving(tmp_path), Worsening()
    made.fit(module, numbers(1), numbers(0))
    assert made.test(module, numbers(0), verbose=False) == [{"weight": -3.0}]
    assert made.test(module, numbers(0), verbose=False, ckpt_path="best") == [{"weight": -1.0}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"enable_checkpointing": False}, "needs a ModelCheckpoint callback, and this Trainer has none"),
        ({"limit_train_batches": 0}, "ModelCheckpoint has saved nothing yet"),
        ({"fast_dev_run": True}, "does not exist under fast_dev_run"),
    ],
)
def test_no_best_one(arguments: dict[str, Any], message: str) -> None:
    made = th.Trainer(**{**QUIET, "enable_checkpointing": None, "max_epochs": 1, **arguments})
    made.fit(Whole(), numbers(1))
    with pytest.raises(ValueError, match=message), pytest.warns(UserWarning, match="got neither a module"):
        made.test(dataloaders=numbers(0), verbose=False)


def test_what_torch_compile_returns_is_unwrapped() -> None:
    module = Whole()
    made = trainer()
    made.fit(torch.compile(module, backend="eager"), numbers(1, 2))  # type: ignore[arg-type]  # not a module's type
    assert made.lightning_module is module
    assert module.weight.item() == -3


@pytest.mark.parametrize("fn", ["validate", "test", "predict"])
def test_nothing_to_evaluate(fn: str) -> None:
    stage = {"validate": "val"}.get(fn, fn)
    found = getattr(trainer(**{f"limit_{stage}_batches": 0}), fn)(Whole(), numbers(1))
    assert found == (None if fn == "predict" else [])


def test_a_checkpoint_of_more_epochs_than_wanted(tmp_path: Path) -> None:
    made = trainer(max_epochs=3)
    made.fit(Whole(), numbers(1))
    made.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(MisconfigurationException, match=r"after 3 epochs, but max_epochs=2; raise it to go on"):
        trainer(max_epochs=2).fit(Whole(), numbers(1), ckpt_path=tmp_path / "a.ckpt")
    trainer(max_epochs=3).fit(Whole(), numbers(1), ckpt_path=tmp_path / "a.ckpt")
    unlimited = trainer(max_epochs=-1, max_steps=4)
    unlimited.fit(Whole(), numbers(1), ckpt_path=tmp_path / "a.ckpt")
    assert (unlimited.current_epoch, unlimited.global_step) == (4, 4)


# --- what the module may be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fn", ["fit", "validate", "test", "predict"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("training_epoch_end", "Old.training_epoch_end is no longer called; use on_train_epoch_end"),
        ("validation_epoch_end", "use on_validation_epoch_end"),
        ("test_epoch_end", "use on_test_epoch_end"),
    ],
)
def test_hooks_of_the_old_days(fn: str, name: str, message: str) -> None:
    old = type("Old", (Whole,), {name: lambda self, outputs: None})
    with pytest.raises(NotImplementedError, match=message):
        getattr(trainer(), fn)(old(), numbers(1))


def test_the_old_way_with_several_optimizers() -> None:
    class Old(Whole):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int = 0) -> Any:
            return super().training_step(batch, batch_idx)

    with pytest.raises(RuntimeError, match=r"Old wants optimizer_idx.*step each of self.optimizers\(\) yourself"):
        trainer().fit(Old(), numbers(1))


STEPS = {
    "without": lambda self, batch, batch_idx: None,
    "default": lambda self, batch, batch_idx, dataloader_idx=0: None,
    "required": lambda self, batch, batch_idx, dataloader_idx: None,
}
ENDS = {
    "without": lambda self, outputs, batch, batch_idx: None,
    "default": lambda self, outputs, batch, batch_idx, dataloader_idx=0: None,
    "required": lambda self, outputs, batch, batch_idx, dataloader_idx: None,
}


@pytest.mark.parametrize("fn", ["validate", "test", "predict"])
@pytest.mark.parametrize(
    ("hook", "forms"), [("{}_step", STEPS), ("on_{}_batch_start", STEPS), ("on_{}_batch_end", ENDS)]
)
def test_the_number_of_the_loader_is_in_the_signature_where_there_are_several(
    fn: str, hook: str, forms: dict[str, Any]
) -> None:
    kind = {"validate": "validation"}.get(fn, fn)
    name = hook.format(kind)
    one, two = numbers(1), [numbers(1), numbers(2)]

    def evaluate(form: str, loaders: Any) -> None:
        hooks = {f"{kind}_step": STEPS["default"], name: forms[form]}
        getattr(trainer(), fn)(type("Indexed", (Line,), hooks)(), loaders)

    for form, loaders in (("without", one), ("default", one), ("default", two), ("required", two)):
        evaluate(form, loaders)
    with pytest.raises(RuntimeError, match=f"{name} of Indexed gets batches of several loaders; give it an argument"):
        evaluate("without", two)
    with pytest.raises(RuntimeError, match=f"{name} of Indexed wants dataloader_idx, but there is one loader; give it"):
        evaluate("required", one)


def test_loaders_read_together_are_one() -> None:
    """No number is passed then."""
    seen: list[Any] = []

    class Together(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            seen.append([part[0].item() for part in batch])

    both = th.CombinedLoader([numbers(1, 2), numbers(3)], "max_size_cycle")
    trainer().validate(Together(), both, verbose=False)
    assert seen == [[1, 3], [2, 3]]


def test_a_step_may_leave_out_the_index_of_the_batch() -> None:
    class Short(Line):
        def training_step(self, batch: Any) -> Any:
            return super().training_step(batch, 0)

        def validation_step(self, batch: Any) -> None:
            self.validated.append(7)

    class Manual(Short):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

    for module in (Short(), Manual()):
        trainer(num_sanity_val_steps=0).fit(module, numbers(1, 2), numbers(3))
        assert (module.fed, module.validated) == ([1, 2], [7])


@pytest.mark.parametrize("mode", ["min_size", "max_size", "max_size_cycle"])
def test_predictions_are_kept_per_loader(mode: str) -> None:
    both = th.CombinedLoader([numbers(1, 2), numbers(3)], mode)
    with pytest.raises(ValueError, match=f"mode='{mode}'.*only mode='sequential' can be predicted"):
        trainer().predict(Whole(), both)
    assert len(trainer().predict(Whole(), th.CombinedLoader([numbers(1, 2), numbers(3)], "sequential"))) == 2


def test_training_reads_loaders_together() -> None:
    with pytest.raises(ValueError, match="training loaders combined with mode='sequential'; use min_size"):
        trainer().fit(Whole(), th.CombinedLoader([numbers(1), numbers(2)], "sequential"))


# --- how it ends -----------------------------------------------------------------------------------------------------


class Ending(Logger):
    """Keeps how it was finalized."""

    name = "ending"
    version = 0

    def __init__(self) -> None:
        self.ended: list[str] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Nothing."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def finalize(self, status: str) -> None:
        """Keep it."""
        self.ended.append(status)


class Told(Callback):
    """Keeps the exceptions it is told of."""

    def __init__(self) -> None:
        self.heard: list[BaseException] = []

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Keep it."""
        assert trainer.state.status == TrainerStatus.INTERRUPTED
        self.heard.append(exception)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
@pytest.mark.parametrize(("fn", "hook"), [("fit", "on_train_batch_start"), ("test", "on_test_batch_start")])
def test_an_end_by_exception(error: type[BaseException], fn: str, hook: str) -> None:
    """Callbacks hear of it, then the datamodule, loggers fail, and it reaches the caller as it is."""
    raised = error("here")

    class Data(th.LightningDataModule):
        train_dataloader = test_dataloader = staticmethod(lambda: numbers(1))
        heard: BaseException | None = None

        def on_exception(self, exception: BaseException) -> None:
            assert told.heard == [exception]
            self.heard = exception

    def failing(self: Any, *args: Any) -> None:
        raise raised

    told, ending, data = Told(), Ending(), Data()
    made = th.Trainer(**{**QUIET, "logger": ending}, max_epochs=1, log_every_n_steps=1, callbacks=[told])
    with pytest.raises(error) as caught:
        getattr(made, fn)(type("Failing", (Whole,), {hook: failing})(), datamodule=data)
    assert raised in (caught.value, caught.value.__cause__)  # of Ctrl-C an end of the script is made
    assert data.heard is raised
    assert ending.ended == ["failed"]
    assert (made.state.status, made.interrupted, made.state.stage) == (TrainerStatus.INTERRUPTED, True, None)
    getattr(made, fn)(Whole(), datamodule=Data())
    assert (ending.ended, made.interrupted, made.state.finished) == (["failed", "success"], False, True)


def test_what_a_run_is_doing() -> None:
    """Function, stage and status at each moment, and the properties that tell the stage."""
    seen: list[Any] = []

    class Looking(Whole):
        def look(self, *args: Any) -> None:
            names = ("training", "validating", "testing", "predicting", "sanity_checking", "evaluating")
            assert self.trainer.state.status == TrainerStatus.RUNNING
            seen.append((str(self.trainer.state.fn), [name for name in names if getattr(self.trainer, name)]))

        on_train_start = on_validation_start = on_test_start = on_predict_start = look

    made, module = trainer(), Looking()
    assert (made.state.status, made.state.fn, made.state.stage) == (TrainerStatus.INITIALIZING, None, None)
    made.fit(module, numbers(1), numbers(2))
    for fn in ("validate", "test", "predict"):
        getattr(made, fn)(module, numbers(1))
    assert seen == [
        ("fit", ["sanity_checking", "evaluating"]),
        ("fit", ["training"]),
        ("fit", ["validating", "evaluating"]),
        ("validate", ["validating", "evaluating"]),
        ("test", ["testing", "evaluating"]),
        ("predict", ["predicting"]),
    ]
    state = made.state
    assert (state.fn, state.stage, state.status) == (TrainerFn.PREDICTING, None, TrainerStatus.FINISHED)
