"""When a hook counts as somebody's own, and what a hook that was set to None is: none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from trainer_models import QUIET

import thunderhead as th
from thunderhead.hooks.overriding import is_called, is_overridden


def rows(count: int = 3) -> DataLoader[Tensor]:
    return DataLoader(torch.ones(count, 2))  # type: ignore[arg-type]  # a tensor has a length and items


class Own(th.LightningModule):
    """Has hooks of every kind, and tells which were called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.called: list[str] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.called.append("training_step")
        return self.layer(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.called.append("validation_step")

    def test_step(self, batch: Tensor, batch_idx: int) -> None: ...

    def predict_step(self, batch: Tensor, batch_idx: int) -> int:
        return batch_idx

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    def train_dataloader(self) -> Any:
        return rows()

    def val_dataloader(self) -> Any:
        return rows(2)


WHOLE = ["validation_step"] * 2 + ["training_step"] * 3 + ["validation_step"] * 2
BASE = th.LightningModule
HOOKS = {
    "partial of the base's": (lambda m: functools.partial(BASE.on_train_start, m), False, True),
    "partial of a function": (lambda m: functools.partial(print, m), True, True),
    "mock around the base's": (lambda m: Mock(wraps=m.on_train_start), False, True),
    "mock around a function": (lambda m: MagicMock(wraps=m.training_step), True, True),
    "mock alone": (lambda m: Mock(), False, True),
    "the base's, bound": (lambda m: m.on_train_start, False, False),
    "the base's, of the class": (lambda m: BASE.on_train_start, False, False),
    "the base's, decorated": (lambda m: functools.wraps(m.on_train_start)(lambda *_: None), False, True),
    "a decorated function": (lambda m: functools.wraps(m.training_step)(lambda *_: None), True, True),
    "a function": (lambda m: lambda: None, True, True),
    "None": (lambda m: None, False, False),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_whose_a_hook_on_the_instance_is(kind: str) -> None:
    make, overridden, called = HOOKS[kind]
    module = Own()
    module.on_train_start = make(module)  # type: ignore[method-assign]
    assert is_overridden("on_train_start", module) is overridden
    assert is_called("on_train_start", module) is called


def test_whose_a_hook_of_the_class_is() -> None:
    class Child(Own):
        training_step = BASE.training_step
        on_fit_start = None

        def on_train_end(self) -> None: ...

    for instance, name, own in [
        (Child(), "training_step", False),
        (Child(), "on_train_end", True),
        (Child(), "on_fit_start", False),
        (Child(), "validation_step", True),
        (None, "training_step", False),
        (th.Callback(), "on_fit_start", False),
        (Own(), "no_such_hook", False),
    ]:
        assert is_overridden(name, instance) is own
        assert is_called(name, instance) is own


def test_a_mock_in_the_place_of_a_hook_is_called() -> None:
    module, callback = Own(), th.Callback()
    hooks = {
        name: Mock(return_value=None)
        for name in ("setup", "on_train_start", "on_train_batch_end", "configure_gradient_clipping", "on_fit_end")
    }
    for name, mock in hooks.items():
        setattr(module, name, mock)
    callback.on_train_end = seen = Mock()  # type: ignore[method-assign]
    th.Trainer(**QUIET, max_epochs=1, callbacks=[callback]).fit(module)
    assert {name: mock.call_count for name, mock in hooks.items()} == {
        "setup": 1,
        "on_train_start": 1,
        "on_train_batch_end": 3,
        "configure_gradient_clipping": 3,
        "on_fit_end": 1,
    }
    assert seen.call_count == 1


WITHOUT = {"validation_step": ["training_step"] * 3, "val_dataloader": ["training_step"] * 3}


@pytest.mark.parametrize(
    "hook",
    [name for name in dir(BASE) if name.startswith("on_") and name != "on_gpu"]
    + [
        "setup",
        "teardown",
        "prepare_data",
        "configure_callbacks",
        "configure_model",
        "validation_step",
        "val_dataloader",
        "test_step",
        "test_dataloader",
        "predict_step",
        "optimizer_zero_grad",
        "configure_gradient_clipping",
        "transfer_batch_to_device",
    ],
)
@pytest.mark.filterwarnings("ignore:Own has no validation_step")
def test_a_hook_that_is_none_is_not_there(hook: str, tmp_path: Any) -> None:
    module = Own()
    setattr(module, hook, None)
    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit(module)
    assert module.called == WITHOUT.get(hook, WHOLE)
    path = tmp_path / "a.ckpt"
    trainer.save_checkpoint(path)
    trainer.validate(module, rows(), verbose=False) if hook != "validation_step" else None
    if hook != "test_step":
        trainer.test(module, rows(), verbose=False)
    if hook != "predict_step":
        assert trainer.predict(module, rows()) == [0, 1, 2]
    if hook != "val_dataloader":
        trainer.fit(module, ckpt_path=path)


@pytest.mark.parametrize(
    ("hook", "run"),
    [
        ("training_step", lambda t, m: t.fit(m)),
        ("configure_optimizers", lambda t, m: t.fit(m)),
        ("validation_step", lambda t, m: t.validate(m, rows())),
        ("test_step", lambda t, m: t.test(m, rows())),
        ("predict_step", lambda t, m: t.predict(m, rows())),
    ],
)
def test_what_a_run_needs_is_asked_for(hook: str, run: Callable[[th.Trainer, Own], object]) -> None:
    module = Own()
    setattr(module, hook, None)
    with pytest.raises(th.MisconfigurationException, match=f"Own has no {hook}"):
        run(th.Trainer(**QUIET, max_epochs=1), module)


class Data(th.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []

    def prepare_data(self) -> None:
        self.called.append("prepare_data")

    def setup(self, stage: str) -> None:
        self.called.append("setup")

    def teardown(self, stage: str) -> None:
        self.called.append("teardown")

    def train_dataloader(self) -> Any:
        return rows(1)

    def val_dataloader(self) -> Any:
        return rows(1)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"of": "data"}


@pytest.mark.parametrize("hook", [name for name in vars(Data) if not name.startswith("_")] + ["on_exception"])
def test_a_hook_of_a_datamodule_that_is_none_is_not_there(hook: str, tmp_path: Any) -> None:
    """Loaders are then the module's."""
    module, data = Own(), Data()
    setattr(data, hook, None)
    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit(module, datamodule=data)
    counts = [module.called.count(step) for step in ("training_step", "validation_step")]
    assert counts == [3 if hook == "train_dataloader" else 1, 4 if hook == "val_dataloader" else 2]
    assert data.called == [name for name in ("prepare_data", "setup", "teardown") if name != hook]
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert saved.get("Data") == (None if hook == "state_dict" else {"of": "data"})


@pytest.mark.parametrize("hook", ["on_exception", "on_train_start", "on_save_checkpoint", "setup"])
def test_a_hook_of_a_callback_that_is_none_is_not_there(hook: str, tmp_path: Any) -> None:
    class Fails(Own):
        def on_train_end(self) -> None:
            raise KeyError("no")

    callback = th.Callback()
    setattr(callback, hook, None)
    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=[callback])
    with pytest.raises(KeyError) as raised:
        trainer.fit(Fails())
    assert not hasattr(raised.value, "__notes__")
    trainer.save_checkpoint(tmp_path / "a.ckpt")
