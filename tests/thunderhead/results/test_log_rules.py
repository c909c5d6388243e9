"""Where ``self.log`` may be called, with which arguments, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from trainer_logging import Module, fit

import thunderhead as th


@pytest.mark.parametrize(
    ("hook", "options", "message"),
    [
        ("on_fit_start", {}, "cannot be used inside on_fit_start"),
        ("on_train_end", {}, "cannot be used inside on_train_end"),
        ("on_validation_end", {}, "cannot be used inside on_validation_end"),
        ("setup", {}, "cannot be used inside setup"),
        ("on_save_checkpoint", {}, None),
        ("on_train_epoch_end", {"on_step": True}, "on_train_epoch_end, which has no steps"),
        ("on_train_start", {"on_epoch": False}, "on_train_start, which has no steps"),
        ("on_train_batch_end", {"on_step": False, "on_epoch": False}, "would record nothing"),
    ],
)
def test_hooks_that_cannot_log_say_so(hook: str, options: dict[str, Any], message: str | None) -> None:
    def log(self: Module, *args: Any) -> None:
        self.log("a", 1.0, **options)

    module = type("Logging", (Module,), {hook: log})()
    if message is None:
        fit(module)
        return
    with pytest.raises(th.MisconfigurationException, match=message):
        fit(module)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(2), r"a tensor of shape \(2,\)"),
        ("0.5", "a str"),
        ({"a": 1}, "got a dict; use self.log_dict"),
        ([1.0], "a list"),
    ],
)
def test_values_must_be_one_number(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(Module(lambda module, _: module.log("a", value)))


def test_a_later_value_must_be_a_number_too() -> None:
    def log(module: Module, value: float) -> None:
        module.log("a", torch.tensor(1.0) if value < 2 else torch.ones(3))

    with pytest.raises(ValueError, match=r"'a'.*a tensor of shape \(3,\)"):
        fit(Module(log))


def test_other_arguments_for_the_same_name_are_refused() -> None:
    def log(module: Module, value: float) -> None:
        module.log("a", value, on_epoch=True)
        module.log("a", value, on_epoch=True, prog_bar=True)

    with pytest.raises(th.MisconfigurationException, match="prog_bar: False then True"):
        fit(Module(log))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a/dataloader_idx_3", {}, "the suffix /dataloader_idx_N is added for you"),
        ("a", {"reduce_fx": "median"}, "none of mean, sum, min, max"),
    ],
)
def test_arguments_that_cannot_be(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=message):
        fit(Module(lambda module, value: module.log(name, value, **options)))
