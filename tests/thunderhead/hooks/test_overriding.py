"""When a hook counts as overridden: what code would run decides, wherever it was put and whatever is around it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from trainer_models import QUIET

import thunderhead as th
from thunderhead.hooks.overriding import is_overridden


class Plain(th.LightningModule): ...


class Own(th.LightningModule):
    def on_fit_start(self) -> None: ...


class PutBack(Own):
    on_fit_start = th.LightningModule.on_fit_start


class Switched(Own):
    """As packages switch a hook off in ``__init__``."""

    def __init__(self) -> None:
        super().__init__()
        self.on_fit_start = super(Own, self).on_fit_start  # type: ignore[method-assign]


def with_hook(value: Callable[[Own], Any], kind: type[th.LightningModule] = Own) -> th.LightningModule:
    module = kind()
    object.__setattr__(module, "on_fit_start", value(module))  # type: ignore[arg-type]
    return module


def around(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any) -> Any:
        return function(*args)

    return called


class Wrapped(th.LightningModule):
    @around
    def on_fit_start(self) -> None: ...


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (None, False),
        (Plain(), False),
        (Own(), True),
        (PutBack(), False),
        (Switched(), False),
        (Wrapped(), True),
        (with_hook(lambda _: None), False),
        (with_hook(lambda _: lambda: None, Plain), True),
        (with_hook(lambda own: functools.partial(own.on_fit_start)), True),
        (with_hook(lambda plain: functools.partial(plain.on_fit_start), Plain), False),
        (with_hook(lambda own: around(own.on_fit_start)), True),
        (with_hook(lambda plain: around(plain.on_fit_start), Plain), False),
        (with_hook(lambda own: mock.Mock(wraps=own.on_fit_start)), True),
        (with_hook(lambda plain: mock.Mock(wraps=plain.on_fit_start), Plain), False),
        (with_hook(lambda _: mock.Mock()), False),
        (with_hook(lambda own: mock.Mock(wraps=functools.partial(own.on_fit_start))), True),
    ],
)
def test_what_counts(module: Any, expected: bool) -> None:
    assert is_overridden("on_fit_start", module) is expected


def test_against_another_base() -> None:
    class Base:
        def on_start(self) -> None: ...

    class Derived(Base):
        def on_start(self) -> None: ...

    assert is_overridden("on_start", Derived(), Base)
    assert not is_overridden("on_start", Base(), Base)
    assert not is_overridden("on_nothing", Derived(), Base)


class Line(th.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("score", self.layer(batch).sum())

    def train_dataloader(self) -> Any:
        return DataLoader(torch.ones(4, 2), 2)

    def val_dataloader(self) -> Any:
        return DataLoader(torch.ones(4, 2), 2)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("hook", ["validation_step", "val_dataloader", "on_train_start"])
def test_a_module_without_a_hook_it_had(hook: str) -> None:
    module = Line()
    setattr(module, hook, None)
    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit(module)
    assert trainer.global_step == 2
    assert ("score" in trainer.callback_metrics) == (hook == "on_train_start")


@pytest.mark.filterwarnings("ignore")
def test_a_datamodule_that_put_the_base_s_own_back() -> None:
    class Without(Line):
        train_dataloader = th.LightningModule.train_dataloader
        val_dataloader = th.LightningModule.val_dataloader

    class Data(th.LightningDataModule):
        def __init__(self) -> None:
            super().__init__()
            self.val_dataloader = super().val_dataloader  # type: ignore[method-assign]

        def train_dataloader(self) -> Any:
            return DataLoader(torch.ones(4, 2), 2)

        def val_dataloader(self) -> Any:
            raise AssertionError("it is switched off")

    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Without(), datamodule=Data())
    assert trainer.global_step == 2
