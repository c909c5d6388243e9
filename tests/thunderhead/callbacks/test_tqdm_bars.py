"""Bars that a subclass makes with tqdm are made, advanced and closed at their moments; others tell where they are."""

from __future__ import annotations

import io
import itertools
import re
import subprocess
import sys
from typing import Any

import pytest
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.callbacks import TQDMProgressBar

OPTIONS: dict[str, Any] = {**QUIET, "enable_progress_bar": None, "max_epochs": 2, "num_sanity_val_steps": 1}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Evaluated(Net):
    def test_step(self, batch: Any, batch_idx: int) -> None: ...

    def predict_step(self, batch: Any, batch_idx: int) -> None: ...


class Own(TQDMProgressBar):
    """As packages write it, each with its words."""

    def __init__(self, stream: io.StringIO) -> None:
        super().__init__(stream=stream, clock=itertools.count(0.0, 1.0).__next__)
        self.made: list[str] = []
        self.seen: list[Any] = []

    def init_sanity_tqdm(self) -> Any:
        self.made.append("sanity")
        return super().init_sanity_tqdm()

    def init_train_tqdm(self) -> Any:
        self.made.append("train")
        bar = super().init_train_tqdm()
        bar.set_description("own words")
        return bar

    def init_validation_tqdm(self) -> Any:
        self.made.append("validation")
        return super().init_validation_tqdm()

    def init_test_tqdm(self) -> Any:
        self.made.append("test")
        return super().init_test_tqdm()

    def init_predict_tqdm(self) -> Any:
        self.made.append("predict")
        return super().init_predict_tqdm()

    def on_train_batch_end(self, *args: Any) -> None:
        super().on_train_batch_end(*args)
        self.seen.append((self.train_progress_bar.n, self.train_progress_bar.total))


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_bars_of_one_s_own(stream: type[io.StringIO]) -> None:
    bar = Own(stream())
    trainer, module = th.Trainer(**OPTIONS, callbacks=[bar]), Evaluated()
    trainer.fit(module, shuffled(), in_order())
    assert bar.made == ["sanity", "train", "validation", "validation"]
    assert bar.seen == [(n, 5) for n in range(1, 6)] * 2
    trainer.validate(module, in_order(), verbose=False)
    trainer.test(module, in_order(), verbose=False)
    trainer.predict(module, in_order())
    assert bar.made[4:] == ["validation", "test", "predict"]
    drawn = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", bar.stream.getvalue())  # type: ignore[attr-defined]
    if stream is Terminal:
        for words in ("own words", "Epoch 1: 100%", "Sanity check DataLoader 0", "Testing DataLoader 0: 100%", "5/5"):
            assert words in drawn, drawn
    else:
        assert "%" not in drawn  # lines tell of it


class Asking(TQDMProgressBar):
    """Draws as ever, and is asked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[Any] = []

    def on_train_batch_end(self, *args: Any) -> None:
        super().on_train_batch_end(*args)
        self.seen.append((self.train_progress_bar.n, self.train_progress_bar.total))

    def on_validation_batch_end(self, *args: Any) -> None:
        super().on_validation_batch_end(*args)
        self.seen.append(("val", self.val_progress_bar.n, self.val_progress_bar.total))


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_any_bar_tells_where_it_is(stream: type[io.StringIO]) -> None:
    bar = Asking(stream=stream())
    th.Trainer(**{**OPTIONS, "max_epochs": 1, "num_sanity_val_steps": 0}, callbacks=[bar]).fit(
        Net(), shuffled(), in_order()
    )
    assert bar.seen[:5] == [(n, 5) for n in range(1, 6)]
    assert bar.seen[5] == ("val", 1, bar.seen[5][2])
    assert bar.inactive_hooks >= {"on_validation_batch_start", "on_predict_start"}


def test_a_hook_of_a_subclass_is_called_though_the_base_has_no_use_for_it() -> None:
    class Starts(TQDMProgressBar):
        seen = 0

        def on_train_epoch_start(self, *args: Any) -> None:
            super().on_train_epoch_start(*args)
            self.seen += 1

    bar = Starts(stream=io.StringIO())
    th.Trainer(**OPTIONS, callbacks=[bar]).fit(Net(), shuffled())
    assert bar.seen == 2


def test_tqdm_is_imported_where_it_draws() -> None:
    code = (
        "import sys, thunderhead as th; bar = th.callbacks.TQDMProgressBar(); "
        "th.Trainer(logger=False, accelerator='cpu', callbacks=[bar]); "
        "print('thunderhead.callbacks.tqdm_class' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
