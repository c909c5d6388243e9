"""Number formats of a run."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead import warning
from thunderhead.precision import MixedPrecision, canonical_precision


class Watching(th.Callback):
    """Types of weights, loss and new tensors inside a step."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """Note them."""
        weight = pl_module.net[0].weight
        self.seen.append((weight.dtype, pl_module.activation, pl_module.made, torch.get_default_dtype()))


class Typed(Net):
    """Notes the type of what it computes."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The usual, with a look at types."""
        self.activation = self.net[0](batch[0]).dtype
        self.made = torch.zeros(1).dtype
        return super().training_step(batch, batch_idx)


F32, BF16, F64, F16 = torch.float32, torch.bfloat16, torch.float64, torch.float16


@pytest.mark.parametrize(
    ("precision", "seen"),
    [
        ("32-true", (F32, F32, F32, F32)),
        ("bf16-mixed", (F32, BF16, F32, F32)),
        ("16-mixed", (F32, BF16, F32, F32)),  # on the CPU
        ("64-true", (F64, F64, F64, F32)),
        ("bf16-true", (BF16, BF16, BF16, F32)),
    ],
)
def test_formats(precision: str, seen: tuple[Any, ...]) -> None:
    watching = Watching()
    trainer = th.Trainer(**QUIET, precision=precision, max_epochs=1, callbacks=[watching])
    trainer.fit(Typed(normalise=False), shuffled(), in_order())
    assert set(watching.seen) == {seen}
    assert torch.get_default_dtype() == F32


def test_another_format_than_asked_for_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    """Half precision on the CPU is bf16's, and the user hears of it, once."""
    monkeypatch.setattr(warning, "_said", set())
    with caplog.at_level(logging.INFO, "thunderhead"):
        for precision in ("bf16-mixed", 16, "16-mixed"):
            assert th.Trainer(**QUIET, precision=precision).precision == "bf16-mixed"
    assert [record.getMessage() for record in caplog.records] == [
        "precision='16-mixed' on the CPU: autocast knows only bf16 there, so 'bf16-mixed' is used"
    ]


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        (32, "32-true"),
        ("32", "32-true"),
        (16, "16-mixed"),
        ("bf16", "bf16-mixed"),
        (64, "64-true"),
        ("16-true", "16-true"),
    ],
)
def test_spellings(spelled: Any, name: str) -> None:
    assert canonical_precision(spelled) == name


def test_mixed_precision_learns_what_full_precision_learns() -> None:
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        th.seed_everything(1, verbose=False)
        trainer = th.Trainer(**QUIET, precision=precision, max_epochs=20)
        trainer.fit(Net(normalise=False, scheduler="none", lr=0.01), shuffled(), in_order())
        losses[precision] = trainer.callback_metrics["val_loss"].item()
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.2)


@pytest.mark.parametrize(
    ("algorithm", "value", "largest"), [("norm", 0.1, 0.1), ("value", 0.01, None), (None, 0.1, 0.1)]
)
def test_clipping(algorithm: Any, value: float, largest: float | None) -> None:
    class Looking(Net):
        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            super().optimizer_step(*args, **kwargs)
            gradients = torch.cat([p.grad.flatten() for p in self.parameters() if p.grad is not None])
            if largest is None:
                assert gradients.abs().max() <= value
            else:
                assert gradients.norm() <= largest * 1.001
            self.clipped = True

    net = Looking()
    arguments = {"gradient_clip_val": value, "gradient_clip_algorithm": algorithm, "max_epochs": 1}
    th.Trainer(**QUIET, **arguments).fit(net, shuffled(), in_order())
    assert net.clipped


def test_a_precision_may_be_a_plugin() -> None:
    plugin = MixedPrecision("bf16-mixed", "cpu")
    assert th.Trainer(**QUIET, plugins=[plugin]).precision == "bf16-mixed"
    with pytest.raises(th.MisconfigurationException, match="both set the precision"):
        th.Trainer(**QUIET, plugins=plugin, precision="32-true")


class Overflowing(Net):
    """Half precision by a scaler of the CPU; the third batch overflows."""

    def __init__(self) -> None:
        super().__init__(normalise=False, scheduler="none")
        self.norms: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The usual loss, but for one."""
        loss = super().training_step(batch, batch_idx)
        return loss * float("inf") if batch_idx == 2 else loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Gradients are unscaled here."""
        gradients = [p.grad.flatten() for p in self.parameters() if p.grad is not None]
        self.norms.append(torch.cat(gradients).norm().item())

    def configure_optimizers(self) -> Any:
        """SGD, whose step shows the gradient."""
        return torch.optim.SGD(self.parameters(), 0.01)


def test_half_precision_scales_and_skips_overflows() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    weights = []

    class Watching(th.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            weights.append(pl_module.net[0].weight.detach().clone())

    th.seed_everything(1, verbose=False)
    net = Overflowing()
    trainer = th.Trainer(**QUIET, plugins=plugin, max_epochs=1, callbacks=[Watching()], num_sanity_val_steps=0)
    trainer.fit(net, shuffled(), in_order())
    assert torch.equal(weights[1], weights[2]), "a step was made with gradients that overflowed"
    assert not torch.equal(weights[2], weights[3])
    assert scaler.get_scale() == 512.0
    assert max(norm for norm in net.norms if norm < float("inf")) < 100, "the gradients were not unscaled"
    assert trainer.global_step == 5
    assert trainer.scaler is scaler


def test_the_scaler_goes_through_a_checkpoint(tmp_path: Any) -> None:
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))
    trainer = th.Trainer(**QUIET, plugins=plugin, max_epochs=1)
    trainer.fit(Overflowing(), shuffled(), in_order())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["MixedPrecision"]["scale"] == 512.0
    again = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=8.0))
    other = th.Trainer(**QUIET, plugins=again, max_epochs=1)
    other.fit(Overflowing(), shuffled(), in_order(), ckpt_path=tmp_path / "a.ckpt")
    assert again.scaler is not None
    assert again.scaler.get_scale() == 512.0


def test_lbfgs_cannot_be_scaled() -> None:
    class Second(Net):
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters())

    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    with pytest.raises(th.MisconfigurationException, match="LBFGS with precision=16-mixed"):
        th.Trainer(**QUIET, plugins=plugin, max_epochs=1).fit(Second(), shuffled())


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_fused_steps_unscale_themselves_so_nothing_can_be_clipped_before(algorithm: str) -> None:
    class Fused(Net):
        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), fused=True)

    def fit(precision: str, **options: Any) -> int:
        scaler = torch.amp.GradScaler("cpu") if precision == "16-mixed" else None
        trainer = th.Trainer(**QUIET, plugins=MixedPrecision(precision, "cpu", scaler), max_steps=1, **options)
        trainer.fit(Fused(normalise=False, scheduler="none"), shuffled())
        return trainer.global_step

    clipping = {"gradient_clip_val": 0.5, "gradient_clip_algorithm": algorithm}
    with pytest.raises(RuntimeError, match=r"AdamW\(fused=True\) unscales gradients as it steps.*use fused=False"):
        fit("16-mixed", **clipping)
    assert fit("16-mixed") == fit("16-mixed", gradient_clip_val=0) == fit("bf16-mixed", **clipping) == 1
