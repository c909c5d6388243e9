"""Members of a module that need no run, or show one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from trainer_line import Line, fit, numbers, trainer

import thunderhead as th


def test_alone_it_knows_nothing_of_a_run() -> None:
    module = Line()
    assert (module.current_epoch, module.global_step, module.global_rank, module.local_rank) == (0, 0, 0, 0)
    assert (module.logger, module.loggers, module.on_gpu) == (None, [], False)
    with pytest.raises(RuntimeError, match="Line is not attached to a Trainer; pass it to"):
        _ = module.trainer
    fit(module, 1, 2)
    assert (module.current_epoch, module.global_step) == (1, 2)
    module.trainer = None
    assert module.global_step == 0


def test_modules_inside_are_attached_too() -> None:
    class Holder(Line):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Line()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.inner.log("inner", 3.0)
            assert self.inner.trainer is self.trainer
            return super().training_step(batch, batch_idx)

    assert fit(Holder(), 1).callback_metrics["inner"] == 3.0


def test_device_and_type() -> None:
    class Empty(th.LightningModule):
        """Nothing in it."""

    class Buffered(th.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kept", torch.zeros(1, device="meta"))

    class Mixed(th.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.counts = nn.Parameter(torch.zeros(1, dtype=torch.int64), requires_grad=False)
            self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    assert (Empty().device, Empty().dtype) == (torch.device("cpu"), torch.float32)
    assert Buffered().device == torch.device("meta")
    assert Mixed().dtype == torch.float64


def test_freezing() -> None:
    module = Line()
    module.layer = nn.Dropout()
    assert module.freeze() is module
    assert (module.weight.requires_grad, module.training, module.layer.training) == (False, False, False)
    assert module.unfreeze() is module
    assert (module.weight.requires_grad, module.training, module.layer.training) == (True, True, True)


def test_switches() -> None:
    module = Line()
    assert (module.automatic_optimization, module.strict_loading, module.example_input_array) == (True, True, None)
    module.strict_loading = False
    module.example_input_array = torch.ones(2)
    assert (module.strict_loading, len(module.example_input_array)) == (False, 2)


def test_a_prediction_is_the_module_called_with_the_batch() -> None:
    class Doubling(th.LightningModule):
        def forward(self, batch: Any) -> Any:
            return 2 * batch[0]

    assert trainer().predict(Doubling(), numbers(3, 4)) == [6, 8]


@pytest.mark.parametrize(("strict", "fits"), [(True, False), (False, True)])
def test_fit_is_as_strict_with_a_file_as_the_module(tmp_path: Any, strict: bool, fits: bool) -> None:
    fit(Line(), 1).save_checkpoint(tmp_path / "a.ckpt")

    class Larger(Line):
        def __init__(self) -> None:
            super().__init__()
            self.strict_loading = strict
            self.register_buffer("added", torch.ones(1))

    module = Larger()
    run = trainer(max_epochs=2)
    if fits:
        run.fit(module, numbers(1), ckpt_path=tmp_path / "a.ckpt")
        assert (module.weight.item(), module.added.item()) == (-2, 1)
    else:
        with pytest.raises(RuntimeError, match="added"):
            run.fit(module, numbers(1), ckpt_path=tmp_path / "a.ckpt")


def test_printing_is_done_once(capsys: pytest.CaptureFixture[str]) -> None:
    module = Line()
    module.print("alone", end="!\n")
    fit(module, 1)
    module.print("run")
    module.trainer.print("trainer", 1, sep="-")
    assert capsys.readouterr().out == "alone!\nrun\ntrainer-1\n"


def test_gathering_alone_adds_no_dimension() -> None:
    """With one process there is nothing to gather from."""
    module = Line()
    fit(module, 1)
    gathered = module.all_gather({"a": torch.ones(2)})
    assert gathered["a"].tolist() == [1, 1]
