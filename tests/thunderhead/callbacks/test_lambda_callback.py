"""LambdaCallback: any hook as a function."""

from __future__ import annotations

from typing import Any

import pytest
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.callbacks import Callback, LambdaCallback
from thunderhead.exceptions import MisconfigurationException

HOOKS = [name for name in vars(Callback) if name.startswith("on_") or name in ("setup", "teardown")]


def test_each_hook_is_called_with_its_arguments() -> None:
    seen: list[tuple[str, tuple[Any, ...]]] = []

    def record(name: str) -> Any:
        return lambda *args: seen.append((name, args))

    callback = LambdaCallback(**{name: record(name) for name in HOOKS})
    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=[callback])
    module = Net()
    trainer.fit(module, shuffled(), in_order())
    called = {name for name, _ in seen}
    assert {"setup", "on_fit_start", "on_sanity_check_end", "on_before_zero_grad", "on_validation_batch_end"} <= called
    assert all(args[:2] == (trainer, module) for _, args in seen)
    assert next(args[2:] for name, args in seen if name == "setup") == ("fit",)
    assert next(len(args) for name, args in seen if name == "on_train_batch_end") == 5


def test_hooks_left_out_are_not_called() -> None:
    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=[LambdaCallback(on_fit_end=lambda *args: None)])
    trainer.fit(Net(), shuffled())
    assert len(trainer._run.hooks["on_fit_end"]) == 1
    assert trainer._run.hooks["on_train_batch_end"] == []


@pytest.mark.parametrize("name", ["inactive_hooks", "state_key", "on_train_batch", "_generate_state_key"])
def test_what_is_no_hook(name: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"no hook '{name}'"):
        LambdaCallback(**{name: print})


def test_a_hook_that_does_not_exist() -> None:
    with pytest.raises(MisconfigurationException, match=r"no hook 'on_train_begin'. Did you mean 'on_train_\w+'?"):
        LambdaCallback(on_train_begin=print)
