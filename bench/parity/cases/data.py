"""Where batches come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from bench.parity.explained import BEFORE_TRAINING, RELOADED
from bench.parity.scenario import Case, Session, loss_of, samples


class Stream(IterableDataset[Any]):
    """Samples without a length."""

    def __init__(self, count: int) -> None:
        self._samples = samples(count)

    def __iter__(self) -> Iterator[Any]:
        return iter([self._samples[index] for index in range(len(self._samples))])


def _two_val(api: Any) -> dict[str, Any]:
    return {stage: [DataLoader(samples(8), batch_size=4), DataLoader(samples(5), batch_size=2)] for stage in EVAL}


EVAL = ("val", "test", "predict")


def _evaluate(session: Session) -> None:
    session.fit()
    for name in ("validate", "test", "predict"):
        session.evaluate(name)


def _val_step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
    self.log("val_loss", loss_of(self, batch))
    self.log("val_both", loss_of(self, batch), add_dataloader_idx=False)
    if dataloader_idx == 1:
        self.log("only_second", 3.0, add_dataloader_idx=False)


def _test_step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
    self.log("test_loss", loss_of(self, batch), on_step=True)


def _predict_step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
    return self.net(batch[0])  # type: ignore[no-any-return]  # a module's call


def combined_loader(api: Any) -> Any:
    """The CombinedLoader of a framework, which the two export from different places."""
    return getattr(api, "CombinedLoader", None) or api.utilities.combined_loader.CombinedLoader


def _combined(mode: str) -> Any:
    def loaders(api: Any) -> dict[str, Any]:
        pair = {"a": DataLoader(samples(27), batch_size=4, shuffle=True), "b": DataLoader(samples(6), batch_size=3)}
        return {"train": combined_loader(api)(pair, mode) if mode != "plain" else pair}

    return loaders


def _combined_step(self: Any, batch: Any, batch_idx: int) -> Any:
    found = batch[0] if isinstance(batch, tuple) and isinstance(batch[0], dict) else batch
    total = sum(loss_of(self, part) for part in found.values() if part is not None)
    self.log("train_loss", total, on_step=True, on_epoch=True, batch_size=4)
    return total


def _combined_val(mode: str) -> Any:
    def loaders(api: Any) -> dict[str, Any]:
        pair = {"a": DataLoader(samples(9), batch_size=4), "b": DataLoader(samples(6), batch_size=3)}
        return {"val": combined_loader(api)(pair, mode)}

    return loaders


def _combined_val_step(self: Any, batch: Any, batch_idx: int) -> None:
    total = sum(loss_of(self, part) for part in batch.values() if part is not None)
    self.log("val_loss", total, batch_size=4)


class Sometimes:
    """Batches, one of which is None."""

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[Any]:
        made = torch.Generator().manual_seed(0)
        for index in range(4):
            yield None if index == 1 else (torch.randn(4, 4, generator=made), torch.randn(4, 1, generator=made))


def _no_dropout(self: Any) -> None:
    self.net[3].p = 0.0


def _reloading(session: Session) -> None:
    trainer, module = session.new_trainer(max_epochs=4), session.new_module()
    torch.manual_seed(2)
    trainer.fit(module, datamodule=session.new_datamodule())


def _unshuffled(api: Any) -> dict[str, Any]:
    return {"train": DataLoader(samples(27), batch_size=4)}


DATA = (
    Case(
        name="several evaluation loaders",
        loaders=_two_val,
        methods={"validation_step": _val_step, "test_step": _test_step, "predict_step": _predict_step},
        steps=_evaluate,
    ),
    Case(
        name="several evaluation loaders, a step without dataloader_idx",
        loaders=_two_val,
    ),
    *(
        Case(
            name=f"train CombinedLoader {mode}",
            loaders=_combined(mode),
            methods={"training_step": _combined_step},
            explained=BEFORE_TRAINING if mode == "sequential" else {},
        )
        for mode in ("plain", "max_size_cycle", "min_size", "max_size", "sequential")
    ),
    *(
        Case(
            name=f"validation CombinedLoader {mode}",
            loaders=_combined_val(mode),
            methods={"validation_step": _combined_val_step},
        )
        for mode in ("max_size_cycle", "min_size", "max_size")
    ),
    Case(name="iterable dataset", loaders=lambda api: {"train": DataLoader(Stream(18), batch_size=4)}),
    Case(
        name="iterable dataset, limited, validation every 2",
        loaders=lambda api: {"train": DataLoader(Stream(18), batch_size=4)},
        trainer={"limit_train_batches": 4, "val_check_interval": 2, "accumulate_grad_batches": 3},
    ),
    Case(
        name="iterable dataset, a share of it",
        loaders=lambda api: {"train": DataLoader(Stream(18), batch_size=4)},
        trainer={"val_check_interval": 0.5},
    ),
    Case(
        name="a batch that is None",
        loaders=lambda api: {"train": Sometimes()},
        explained={"*batch_progress/*/started": "a batch that is None counts as started; nothing reads that counter"},
    ),
    Case(name="loader processes", loaders=lambda api: {"train": DataLoader(samples(27), batch_size=4, num_workers=1)}),
    Case(name="drop_last", loaders=lambda api: {"train": DataLoader(samples(27), 4, shuffle=True, drop_last=True)}),
    Case(
        name="reload every epoch",
        steps=_reloading,
        trainer={"reload_dataloaders_every_n_epochs": 1},
        explained=RELOADED,
    ),
    Case(
        name="reload every 2nd epoch, in order",
        steps=_reloading,
        loaders=_unshuffled,
        methods={"begin": _no_dropout},
        trainer={"reload_dataloaders_every_n_epochs": 2},
    ),
    Case(name="an empty training loader", loaders=lambda api: {"train": []}),
)
