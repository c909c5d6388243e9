"""Files of Lightning before 2.0, as that wrote them: hand-made from its layouts."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from trainer_line import Line, numbers, trainer

from thunderhead.callbacks import EarlyStopping, ModelCheckpoint
from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.migration import migrate, version_of


def tracker(**counts: int) -> dict[str, Any]:
    """Progress of one kind."""
    return {"total": dict(counts), "current": dict(counts)}


def old(**entries: Any) -> dict[str, Any]:
    """What every version wrote: after two epochs of three steps, weight 5."""
    return {
        "epoch": 2,
        "global_step": 6,
        "state_dict": {"weight": torch.tensor([5.0])},
        "optimizer_states": [torch.optim.SGD([torch.zeros(1)], 1.0).state_dict()],
        "lr_schedulers": [],
        **entries,
    }


def loops_of_1_5(*, processed: int, last: bool, epochs: int) -> dict[str, Any]:
    """``loops`` of 1.5 to 1.9: deeper than today's, without ``_batches_that_stepped``."""
    done = {"ready": processed, "started": processed, "processed": processed, "completed": processed}
    epoch = {"ready": epochs + 1, "started": epochs + 1, "processed": epochs, "completed": epochs}
    return {
        "fit_loop": {
            "state_dict": {},
            "epoch_loop.state_dict": {},
            "epoch_loop.batch_progress": {**tracker(**done), "is_last_batch": last},
            "epoch_loop.scheduler_progress": tracker(ready=0, completed=0),
            "epoch_loop.batch_loop.state_dict": {},
            "epoch_loop.batch_loop.optimizer_loop.state_dict": {},
            "epoch_loop.batch_loop.optimizer_loop.optim_progress": {"optimizer_position": 1, "optimizer": {}},
            "epoch_loop.batch_loop.manual_loop.state_dict": {},
            "epoch_loop.val_loop.dataloader_progress": tracker(ready=0, completed=0),
            "epoch_progress": tracker(**epoch),
        }
    }


def go_on(content: dict[str, Any], path: Path, *callbacks: Any, weights_only: bool | None = None) -> tuple[Any, Line]:
    """Write ``content`` and train on from it for an epoch of three batches."""
    torch.save(content, path)
    made, module = trainer(*callbacks, max_epochs=3), Line()
    made.fit(module, numbers(1, 2, 3), ckpt_path=path, weights_only=weights_only)
    return made, module


@pytest.mark.parametrize("version", [None, "0.9.0", "1.0.8", "1.4.9"])
def test_before_loops(tmp_path: Path, version: str | None) -> None:
    """Counts of epochs and steps completed; the loggers' x axis went by steps."""
    content = old(**({} if version is None else {"pytorch-lightning_version": version}))
    made, module = go_on(content, tmp_path / "a.ckpt")
    assert (made.current_epoch, made.global_step, made._training.position.log_step) == (3, 9, 9)
    assert module.fed == [1, 2, 3]
    assert module.weight.item() == 5 - 6


@pytest.mark.parametrize(
    ("loops", "fed"),
    [
        (loops_of_1_5(processed=3, last=True, epochs=1), [1, 2, 3]),
        (loops_of_1_5(processed=1, last=False, epochs=2), [2, 3]),
    ],
    ids=["at an epoch's end", "inside an epoch"],
)
def test_loops_of_1_5(tmp_path: Path, loops: dict[str, Any], fed: list[int]) -> None:
    made, module = go_on(old(loops=loops, **{"pytorch-lightning_version": "1.5.10"}), tmp_path / "a.ckpt")
    assert (made.current_epoch, made.global_step) == (3, 6 + len(fed))
    assert module.fed == fed


EARLY = {"wait_count": 2, "stopped_epoch": 0, "best_score": torch.tensor(0.25), "patience": 7}
BEST = {"monitor": "a", "best_model_score": torch.tensor(0.5), "best_model_path": "old.ckpt", "dirpath": "elsewhere"}


def under_classes_of(names: dict[str, str], states: dict[str, Any]) -> Callable[[Path], None]:
    """Write a file with states keyed by classes of a ``pytorch_lightning`` that is gone by the time it is read."""

    def write(path: Path) -> None:
        keyed = {}
        for name, module in names.items():
            made = type(name, (), {"__module__": module, "__qualname__": name})
            parts = module.split(".")
            for end in range(1, len(parts) + 1):
                sys.modules.setdefault(".".join(parts[:end]), ModuleType(".".join(parts[:end])))
            setattr(sys.modules[module], name, made)
            keyed[made] = states[name]
        torch.save(old(callbacks=keyed, **{"pytorch-lightning_version": "1.4.9"}), path)
        for name in [name for name in sys.modules if name.partition(".")[0] == "pytorch_lightning"]:
            del sys.modules[name]

    return write


def test_callbacks_under_their_classes(tmp_path: Path) -> None:
    """Read safely, as everything else: the classes' names are let through, and mean ours."""
    home = "pytorch_lightning.callbacks"
    write = under_classes_of(
        {"EarlyStopping": f"{home}.early_stopping", "ModelCheckpoint": f"{home}.model_checkpoint"},
        {"EarlyStopping": EARLY, "ModelCheckpoint": BEST},
    )
    write(tmp_path / "a.ckpt")
    early, saving = (
        EarlyStopping("a", check_on_train_epoch_end=False),
        ModelCheckpoint(tmp_path, monitor="a", save_top_k=0),
    )
    made = trainer(early, saving, max_epochs=3, enable_checkpointing=None)
    with (
        pytest.warns(UserWarning, match="patience of 7 stands, not the 3 of now"),
        pytest.warns(UserWarning, match="dirpath changed from 'elsewhere'"),
    ):
        made.fit(Line(), numbers(1, 2, 3), ckpt_path=tmp_path / "a.ckpt")
    assert (early.wait_count, early.patience, early.best_score.item()) == (2, 7, 0.25)
    assert saving.best_model_path == "old.ckpt"


def test_classes_that_are_not_known(tmp_path: Path) -> None:
    write = under_classes_of({"Mine": "pytorch_lightning.callbacks.mine"}, {"Mine": {"a": 1}})
    write(tmp_path / "a.ckpt")
    with pytest.raises(MisconfigurationException, match="pass weights_only=False if you trust"):
        trainer(max_epochs=3).fit(Line(), numbers(1), ckpt_path=tmp_path / "a.ckpt")
    with pytest.raises(MisconfigurationException, match=r"pytorch_lightning.* not installed; .*compat.install"):
        trainer(max_epochs=3).fit(Line(), numbers(1), ckpt_path=tmp_path / "a.ckpt", weights_only=False)


MIGRATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "hparams of 0.7": ({"hparams": {"a": 1}}, {"hyper_parameters": {"a": 1}}),
    "module_arguments of 0.8": ({"module_arguments": {"a": 1}}, {"hyper_parameters": {"a": 1}}),
    "callbacks of 0.9": (
        {
            "checkpoint_callback_best_model_score": 0.5,
            "checkpoint_callback_best_model_path": "p",
            "early_stop_callback_wait": 2,
            "early_stop_callback_patience": 3,
        },
        {
            "callbacks": {
                "ModelCheckpoint": {"best_model_score": 0.5, "best_model_path": "p"},
                "EarlyStopping": {"wait_count": 2, "patience": 3},
            }
        },
    ),
    "scaler of 1.5": ({"native_amp_scaling_state": {"scale": 2}}, {"MixedPrecision": {"scale": 2}}),
    "scaler of 1.8": ({"NativeMixedPrecisionPlugin": {"scale": 2}}, {"MixedPrecision": {"scale": 2}}),
    "scaler of 1.9": ({"MixedPrecisionPlugin": {"scale": 2}}, {"MixedPrecision": {"scale": 2}}),
    "key of 1.8": (
        {"callbacks": {"ModelCheckpoint{'monitor': 'a', 'save_on_train_epoch_end': None}": {}, "Mine": {}}},
        {"callbacks": {"ModelCheckpoint{'monitor': 'a'}": {}, "Mine": {}}},
    ),
}


@pytest.mark.parametrize(("before", "after"), MIGRATIONS.values(), ids=MIGRATIONS)
def test_keys(before: dict[str, Any], after: dict[str, Any]) -> None:
    content = migrate(old(**copy.deepcopy(before)), "a.ckpt")
    assert {key: content[key] for key in after} == after


def test_todays_files_are_left_alone() -> None:
    content = old(hparams=1, **{"pytorch-lightning_version": "2.0.1"})
    assert migrate(dict(content), "a.ckpt") == content


def test_what_cannot_be_migrated() -> None:
    with pytest.warns(UserWarning, match=r"apex.*precision='16-mixed' begins a new one"):
        assert "amp_scaling_state" not in migrate(old(amp_scaling_state={}), "a.ckpt")
    with pytest.warns(UserWarning, match=r"Lightning 3\.1, which is newer"):
        migrate(old(**{"pytorch-lightning_version": "3.1"}), "a.ckpt")
    for content in ({"weight": torch.zeros(1)}, [1]):
        with pytest.raises(MisconfigurationException, match="has no state_dict; load bare weights with"):
            migrate(content, "a.ckpt")


@pytest.mark.parametrize(("said", "version"), [("1.5.0rc1", (1, 5, 0)), ("2.0", (2, 0)), (None, (0,)), ("dev", (0,))])
def test_versions(said: str | None, version: tuple[int, ...]) -> None:
    assert version_of({"pytorch-lightning_version": said} if said else {}) == version


def test_old_hyperparameters_make_a_module(tmp_path: Path) -> None:
    class Net(Line):
        def __init__(self, rate: float) -> None:
            super().__init__()
            self.rate = rate

    torch.save(old(hparams={"rate": 0.5}), tmp_path / "a.ckpt")
    assert Net.load_from_checkpoint(tmp_path / "a.ckpt").rate == 0.5
