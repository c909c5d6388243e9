"""What ``ckpt_path`` may say."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_line import Line, fit, numbers, trainer

from thunderhead import Callback, Trainer
from thunderhead.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from thunderhead.exceptions import MisconfigurationException


def saved(path: Path, *values: float) -> Path:
    """A file of a run over these numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fit(Line(), *values).save_checkpoint(path)
    return path


def resumed_from(ckpt_path: Any, *callbacks: Any, **arguments: Any) -> tuple[str | None, int]:
    """The file that fit went on from, and the step after two more batches."""
    made = trainer(*callbacks, max_epochs=2, **arguments)
    made.fit(Line(), numbers(1, 2), ckpt_path=ckpt_path)
    return made.ckpt_path, made.global_step


@pytest.mark.parametrize("form", [str, Path, lambda path: f"file://{path}"], ids=["text", "Path", "file URL"])
def test_a_path(tmp_path: Path, form: Any) -> None:
    path = saved(tmp_path / "a.ckpt", 1, 2, 3)
    assert resumed_from(form(path)) == (str(form(path)), 5)


class SavesInside(Callback):
    """Saves after the first batch."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 1:
            trainer.save_checkpoint(self.path)


def test_the_user_hears_from_where_a_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "thunderhead")
    file = str(saved(tmp_path / "a.ckpt", 1, 2, 3))
    caplog.clear()
    resumed_from(file)
    trainer().validate(Line(), numbers(1), ckpt_path=file)
    inside = str(tmp_path / "b.ckpt")
    trainer(SavesInside(inside)).fit(Line(), numbers(1, 2))
    resumed_from(inside)
    resumed_from(None)
    said = [text for text in caplog.messages if tmp_path.name in text]
    assert said == [
        f"Trainer.fit goes on from {file!r}: epoch 1, step 3",
        f"Trainer.validate takes the weights of {file!r}",
        f"Trainer.fit goes on from {inside!r}: epoch 0, batch 1, step 1",
    ]


def test_hpc_is_the_highest_number_in_default_root_dir(tmp_path: Path) -> None:
    for number, values in ((2, (1,)), (10, (1, 2, 3)), (9, (1, 2))):
        saved(tmp_path / "home" / f"hpc_ckpt_{number}.ckpt", *values)
    (tmp_path / "home" / "hpc_ckpt_x.ckpt").touch()
    (tmp_path / "home" / "other_hpc_ckpt_77.ckpt").touch()
    found = resumed_from("hpc", default_root_dir=tmp_path / "home")
    assert found == (str(tmp_path / "home/hpc_ckpt_10.ckpt"), 5)
    with pytest.raises(ValueError, match=r"'/nowhere' holds no hpc_ckpt_<N>\.ckpt; pass the path"):
        resumed_from("hpc", default_root_dir="/nowhere")


@pytest.mark.parametrize("newest", [0, 1, 2])
def test_last_is_the_newest_of_all_callbacks(tmp_path: Path, newest: int) -> None:
    """By the time of the file, whichever callback's it is; its name may have a version or more behind it."""
    paths = [
        saved(tmp_path / "a" / "last.ckpt", 1),
        saved(tmp_path / "a" / "last-v1.ckpt", 1, 2),
        saved(tmp_path / "b" / "on_exception.ckpt", 1, 2, 3),
    ]
    for index, path in enumerate(paths):
        time = 1000 if index == newest else 900
        os.utime(path, (time, time))
    saved(tmp_path / "a" / "lasting.ckpt", 1, 2, 3, 4)
    callbacks = (ModelCheckpoint(tmp_path / "a", save_top_k=0), OnExceptionCheckpoint(tmp_path / "b"))
    found = resumed_from("last", *callbacks, enable_checkpointing=None)
    assert found == (str(paths[newest]), newest + 3)


def test_best(tmp_path: Path) -> None:
    class Scored(Line):
        def on_train_epoch_end(self) -> None:
            self.log("score", [2.0, 1.0, 3.0][self.current_epoch])

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("weight", self.weight)

    made = trainer(ModelCheckpoint(tmp_path, monitor="score"), enable_checkpointing=None, max_epochs=3)
    made.fit(Scored(), numbers(1, 2))
    best = made.checkpoint_callback.best_model_path
    assert best == str(tmp_path / "epoch=1-step=4.ckpt")
    weight = torch.load(best, weights_only=True)["state_dict"]["weight"].item()
    assert made.test(Scored(), numbers(1), ckpt_path="best", verbose=False) == [{"weight": weight}]
    assert made.ckpt_path == best


def test_a_registry_is_refused_by_name() -> None:
    with pytest.raises(MisconfigurationException, match=r"ckpt_path='registry:mine'.*pass its path or URL"):
        resumed_from("registry:mine")


def test_a_directory_that_is_no_checkpoint_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "sharded").mkdir()
    with pytest.raises(MisconfigurationException, match=r"holds no \.metadata, as ranks that save together write it"):
        resumed_from(tmp_path / "sharded")
    with pytest.raises(MisconfigurationException, match="is a directory"):
        Line.load_from_checkpoint(tmp_path / "sharded")


@pytest.mark.parametrize("weights_only", [None, True, False])
@pytest.mark.parametrize(
    "content",
    [
        b"some words\n" * 40,
        b'{"a": 1}',
        b"import torch\n",
        b"a: 1\n",
        b"",
        bytes(1000),
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        pickle.dumps({"state_dict": {}}),
        pickle.dumps({"state_dict": {}}, protocol=2),
    ],
    ids=["text", "JSON", "Python", "YAML", "empty", "zeros", "image", "pickle", "old pickle"],
)
def test_what_is_no_checkpoint_is_called_so(tmp_path: Path, content: bytes, weights_only: bool | None) -> None:
    """Torch advises weights_only=False of some of them, which would run their content and help nobody."""
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    found = repr(content[:8]) if content else "it is empty"
    with pytest.raises(MisconfigurationException, match=r"is no checkpoint: .*; pass a file of ModelChe") as caught:
        trainer().fit(Line(), numbers(1), ckpt_path=path, weights_only=weights_only)
    assert found in str(caught.value)
    assert str(path) in str(caught.value)
    assert "weights_only" not in str(caught.value)
    with pytest.raises(MisconfigurationException, match="is no checkpoint"):
        Line.load_from_checkpoint(path, weights_only=weights_only)


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before torch 1.6"])
def test_both_formats_of_torch_are_read(tmp_path: Path, archive: bool) -> None:
    path = saved(tmp_path / "a.ckpt", 1, 2, 3)
    content = torch.load(path, weights_only=True)
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    assert resumed_from(path) == (str(path), 5)


@pytest.mark.parametrize(("length", "kind"), [(0.5, RuntimeError), (0.1, RuntimeError)])
def test_a_file_that_was_cut_short_is_named(tmp_path: Path, length: float, kind: type[Exception]) -> None:
    path = saved(tmp_path / "a.ckpt", 1)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * length)])
    with pytest.raises(kind) as caught:
        resumed_from(path)
    assert caught.value.__notes__ == [
        f"while reading checkpoint {str(path)!r}; if the file is cut short or damaged, pass another"
    ]


@pytest.mark.parametrize(
    ("fn", "instead"),
    [
        ("fit", "starting fresh"),
        ("validate", "validate runs the module as it is"),
        ("test", "test runs the module as it is"),
        ("predict", "predict runs the module as it is"),
    ],
)
def test_without_a_last_one_it_is_said_what_happens(fn: str, instead: str) -> None:
    class Evaluated(Line):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            """Nothing."""

        def predict_step(self, batch: Any, batch_idx: int) -> None:
            """Nothing."""

    with pytest.warns(UserWarning, match=f"there is no last checkpoint; {instead}$"):
        getattr(trainer(), fn)(Evaluated(), numbers(1), ckpt_path="last")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("Last", " Did you mean 'last'?"),
        ("bets", " Did you mean 'best'?"),
        ("kept/epoch=1.ckp", " Did you mean 'kept/epoch=1.ckpt'?"),
        ("{home}/kept/epoch=2.ckpt", " Did you mean '{home}/kept/epoch=1.ckpt'?"),
        ("mine.cpkt", " Did you mean 'mine.ckpt'?"),
        ("nowhere/else.ckpt", ""),
        ("kept/zzz", ""),
    ],
)
def test_a_missing_file_and_what_was_meant(tmp_path: Path, asked: str, meant: str) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "epoch=1.ckpt").touch()
    (tmp_path / "mine.ckpt").touch()
    path, hint = (text.format(home=tmp_path) for text in (asked, meant))
    said = re.escape(f"checkpoint {path!r} does not exist.{hint}")
    with pytest.raises(FileNotFoundError, match=f"^{said}$"):
        resumed_from(path)


@pytest.mark.parametrize("asked", [3, True, b"a.ckpt", ["a.ckpt"]])
def test_what_is_no_path(asked: Any) -> None:
    said = re.escape(f"ckpt_path={asked!r} must be 'best', 'last', 'hpc', a file or a URL, as str or pathlib.Path")
    with pytest.raises(TypeError, match=said):
        resumed_from(asked)
    made = trainer()
    made.fit(Line(), numbers(1))
    with pytest.raises(
        TypeError, match=re.escape(f"Trainer.save_checkpoint: filepath={asked!r} must be a path or URL")
    ):
        made.save_checkpoint(asked)


def test_weights_only_is_a_switch(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.ckpt", 1)
    with pytest.raises(MisconfigurationException, match="weights_only='no' must be True or False or None"):
        trainer().fit(Line(), numbers(1), ckpt_path=path, weights_only="no")


@pytest.mark.parametrize(
    ("below", "kind", "said"),
    [
        ("{home}/file/a.ckpt", OSError, "'{home}/file' is a file, not a directory; give another directory"),
        ("/proc/a.ckpt", FileNotFoundError, "no file can be made in '/proc/a.ckpt' (No such file or directory); give"),
    ],
)
def test_a_place_that_takes_no_file(tmp_path: Path, below: str, kind: type[Exception], said: str) -> None:
    (tmp_path / "file").touch()
    path = below.format(home=tmp_path)
    made = trainer()
    made.fit(Line(), numbers(1))
    words = f"Trainer.save_checkpoint(filepath={path!r}) cannot write it: {said.format(home=tmp_path)}"
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        made.save_checkpoint(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_form_of_old_files_is_read(tmp_path: Path, protocol: int) -> None:
    made = trainer(max_steps=1)
    made.fit(Line(), numbers(2))
    made.save_checkpoint(tmp_path / "new.ckpt")
    content = torch.load(tmp_path / "new.ckpt", weights_only=False)
    torch.save(content, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    again = trainer(max_steps=2, max_epochs=-1)
    again.fit(Line(), numbers(2), ckpt_path=tmp_path / "old.ckpt", weights_only=False)
    assert again.global_step == 2
