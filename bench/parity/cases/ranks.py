"""Two ranks, which train together over gloo on the CPU.

Evaluation data is even, so that Lightning, which repeats samples to make it so, hands out the same ones; two cases are
about what happens when it is not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, WeightedRandomSampler
from torch.utils.data.distributed import DistributedSampler

from bench.parity.explained import AS_MANY_BATCHES, DRAWN_ALIKE, KEPT_BUFFERS, RESUMED, WIDE_INTEGERS, unpadded
from bench.parity.record import plain
from bench.parity.scenario import Case, Session, loss_of, samples

RANKS = 2


def even_loaders(api: Any) -> dict[str, Any]:
    """27 samples to train on, which two ranks pad to 28, and even numbers for evaluation."""
    return {
        "val": DataLoader(samples(12, 1), batch_size=4),
        "test": DataLoader(samples(8, 2), batch_size=4),
        "predict": DataLoader(samples(8, 3), batch_size=4),
    }


def two_ranks(name: str, trainer: Mapping[str, Any] | None = None, **more: Any) -> Case:
    """A case of two ranks by ``even_loaders``."""
    options = {"devices": RANKS, "strategy": "ddp", **(trainer or {})}
    return Case(**{"name": f"two ranks: {name}", "trainer": options, "ranks": RANKS, "loaders": even_loaders, **more})


def _evaluate(session: Session) -> None:
    session.fit()
    for name in ("validate", "test", "predict"):
        session.evaluate(name)


def _odd_validation(api: Any) -> dict[str, Any]:
    return {"val": DataLoader(samples(11, 1), batch_size=4)}


def _odd_test(api: Any) -> dict[str, Any]:
    odd = {stage: DataLoader(samples(7, 2), batch_size=3) for stage in ("test", "predict")}
    return even_loaders(api) | odd


def _synced_test(self: Any, batch: Any, batch_idx: int) -> None:
    self.log("test_loss", loss_of(self, batch), sync_dist=True)


def _two_val(api: Any) -> dict[str, Any]:
    return {"val": [DataLoader(samples(8), batch_size=4), DataLoader(samples(12, 5), batch_size=2)]}


def _two_val_step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
    self.log("val_loss", loss_of(self, batch), sync_dist=True)
    self.log(f"val_{dataloader_idx}", loss_of(self, batch), add_dataloader_idx=False)


# --- logging -------------------------------------------------------------------------------------------------------


def _logging(**how: Any) -> dict[str, Any]:
    """Each rank logs its own losses, and a number that tells the ranks apart."""

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = loss_of(self, batch)
        self.log("value", loss, **how)
        self.log("rank", float(self.global_rank + batch_idx), **how)
        return loss

    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("val_value", loss_of(self, batch), **how)
        self.log("val_rank", float(self.global_rank + batch_idx), **how)

    return {"training_step": training_step, "validation_step": validation_step}


def _epoch_hooks() -> dict[str, Any]:
    def on_train_epoch_end(self: Any) -> None:
        self.log("at_train_end", float(self.global_rank + 1), sync_dist=True)
        self.log("own_at_train_end", float(self.global_rank + 1))

    def on_validation_epoch_end(self: Any) -> None:
        self.log("at_val_end", float(self.global_rank + 1), sync_dist=True, reduce_fx="max")

    return {"on_train_epoch_end": on_train_epoch_end, "on_validation_epoch_end": on_validation_epoch_end}


def _metric_begin(self: Any) -> None:
    import torchmetrics

    self.error, self.val_error = torchmetrics.MeanSquaredError(), torchmetrics.MeanAbsoluteError()


def _metric_step(self: Any, batch: Any, batch_idx: int) -> Any:
    self.error(self.net(batch[0]), batch[1])
    self.log("error", self.error, on_step=True, on_epoch=True)
    return loss_of(self, batch)


def _metric_val(self: Any, batch: Any, batch_idx: int) -> None:
    self.val_error.update(self.net(batch[0]), batch[1])
    self.log("val_error", self.val_error)


def _synced_val(self: Any, batch: Any, batch_idx: int) -> None:
    self.log("val_loss", loss_of(self, batch), sync_dist=True)


SYNCED = {"validation_step": _synced_val}


def _per_rank(*values: tuple[float, float]) -> dict[str, Any]:
    """A validation that logs, of each pair, the value of this rank; an epoch after the other."""

    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", values[self.current_epoch % len(values)][self.global_rank])

    return {"validation_step": validation_step}


# --- what ranks tell each other --------------------------------------------------------------------------------------


def _exchange(self: Any) -> None:
    strategy, rank = self.trainer.strategy, self.global_rank
    mine = torch.tensor([1.0, 2.0]) + 10 * rank
    self.exchanged = [
        *(strategy.reduce(mine.clone(), reduce_op=op) for op in ("mean", "sum", "max", "min")),
        strategy.reduce(torch.tensor(rank + 2), reduce_op="sum"),
        strategy.all_gather(mine),
        self.all_gather(mine),
        self.all_gather({"a": mine, "b": [torch.tensor(rank)]}),
        self.all_gather(rank),
        self.all_gather({"a": 2.5 * rank, "b": rank == 1}),
        strategy.broadcast({"from": rank}),
        strategy.broadcast(rank, src=1),
        strategy.reduce_boolean_decision(rank == 0),
        strategy.reduce_boolean_decision(rank == 0, all=False),
        (self.trainer.is_global_zero, self.trainer.world_size, self.trainer.num_nodes, self.trainer.num_devices),
        (self.trainer.global_rank, self.trainer.local_rank, self.trainer.node_rank, self.local_rank),
    ]
    weight = self.net[0].weight.detach().clone().requires_grad_()
    (self.all_gather(weight, sync_grads=True).sum() * (rank + 1)).backward()
    self.exchanged.append(weight.grad)
    strategy.barrier()


def _exchanging(session: Session) -> None:
    session.fit()
    session.record.returned.append(plain(session.module.exchanged))


# --- data ------------------------------------------------------------------------------------------------------------


class Parts(IterableDataset[Any]):
    """Samples without a length, cut by rank; ``more`` on the ranks after the first."""

    def __init__(self, count: int, more: int = 0) -> None:
        self._samples, self._more = samples(2 * count + more), more

    def __iter__(self) -> Iterator[Any]:
        rank = int(os.environ["RANK"])
        end = len(self._samples) if rank else len(self._samples) - self._more
        return iter([self._samples[index] for index in range(rank, end, RANKS)])


def _parts(api: Any) -> dict[str, Any]:
    return even_loaders(api) | {
        "train": DataLoader(Parts(11), batch_size=4),
        "val": DataLoader(Parts(6), batch_size=4),
    }


def _own_sampler(api: Any) -> dict[str, Any]:
    def loader(count: int, shuffle: bool) -> DataLoader[Any]:
        data = samples(count)
        own: DistributedSampler[Any] = DistributedSampler(
            data, RANKS, int(os.environ["RANK"]), shuffle=shuffle, seed=3, drop_last=True
        )
        return DataLoader(data, batch_size=4, sampler=own)

    return even_loaders(api) | {"train": loader(29, True), "val": loader(11, False)}


def _in_order(api: Any) -> dict[str, Any]:
    return even_loaders(api) | {"train": DataLoader(samples(27), batch_size=4, drop_last=True)}


def _weighted(api: Any) -> dict[str, Any]:
    drawn = WeightedRandomSampler(torch.arange(1.0, 28.0).tolist(), 24, generator=torch.Generator().manual_seed(4))
    return even_loaders(api) | {"train": DataLoader(samples(27), batch_size=4, sampler=drawn)}


def _weighted_globally(api: Any) -> dict[str, Any]:
    drawn = WeightedRandomSampler(torch.arange(1.0, 28.0).tolist(), 24)
    return even_loaders(api) | {"train": DataLoader(samples(27), batch_size=4, sampler=drawn)}


def _seeded(session: Session) -> None:
    session.api.seed_everything(7)
    try:
        session.fit()
    finally:
        # The next case of these processes has not asked for it.
        for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
            os.environ.pop(name, None)


# --- optimisation ----------------------------------------------------------------------------------------------------


def _begin_manual(self: Any) -> None:
    self.automatic_optimization = False


def _manual_step(self: Any, batch: Any, batch_idx: int) -> Tensor:
    optimizer = self.optimizers()
    with optimizer.toggle_model(sync_grad=batch_idx % 2 == 1):
        loss = loss_of(self, batch)
        self.manual_backward(loss)
    self.log("loss", loss, on_step=True, on_epoch=True, sync_dist=True)
    if batch_idx % 2 == 1:
        optimizer.step()
        optimizer.zero_grad()
    return loss


def _none_step(self: Any, batch: Any, batch_idx: int) -> Any:
    return None if batch_idx == 1 else loss_of(self, batch)


def _plateau(self: Any) -> Any:
    optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=1.0)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}


def _one_cycle(self: Any) -> Any:
    optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
    total = int(self.trainer.estimated_stepping_batches)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=total)
    return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def _raises(self: Any) -> None:
    raise ValueError("on purpose")


def _resume(session: Session) -> None:
    session.fit(max_epochs=1)
    session.trainer.strategy.barrier()
    session.fit(ckpt_path=session.checkpoint(), max_epochs=3)


_UNPADDED = unpadded("validation_step", "val_loss")
_ODD_TEST = {
    **unpadded("test_step", "test_loss"),
    "returned/1/test/0/test_loss": _UNPADDED["hooks/*"],
    **AS_MANY_BATCHES,
}

TWO_RANKS = (
    two_ranks("fit"),
    two_ranks("fit, hooks left alone", hooks=False),
    two_ranks("fit, validate, test, predict", steps=_evaluate),
    two_ranks("fit, validate, test, predict with a datamodule", steps=_evaluate, datamodule=True),
    two_ranks(
        "test and predict data of an odd length",
        loaders=_odd_test,
        methods={"test_step": _synced_test},
        steps=_evaluate,
        explained=_ODD_TEST,
    ),
    two_ranks("validation data of an odd length", loaders=_odd_validation, methods=SYNCED, explained=_UNPADDED),
    two_ranks("several validation loaders", loaders=_two_val, methods={"validation_step": _two_val_step}),
    *(
        two_ranks(f"log {how}", {"log_every_n_steps": 2}, methods=_logging(**how))
        for how in (
            {"on_step": True, "on_epoch": True, "sync_dist": True},
            {"on_step": True, "on_epoch": True},
            {"on_epoch": True, "sync_dist": True, "reduce_fx": "sum"},
            {"on_epoch": True, "sync_dist": True, "reduce_fx": "max"},
            {"on_epoch": True, "sync_dist": True, "batch_size": 3, "prog_bar": True},
            {"on_epoch": True, "rank_zero_only": True},
        )
    ),
    two_ranks("log at an epoch's end", methods=_epoch_hooks()),
    two_ranks(
        "torchmetrics",
        {"log_every_n_steps": 2},
        methods={"begin": _metric_begin, "training_step": _metric_step, "validation_step": _metric_val},
    ),
    two_ranks(
        "reduce, gather, broadcast",
        methods={"on_train_epoch_end": _exchange},
        steps=_exchanging,
        explained=WIDE_INTEGERS,
    ),
    two_ranks("iterable dataset, cut by rank", loaders=_parts),
    two_ranks("a weighted sampler, drawn from the global state", loaders=_weighted_globally, explained=DRAWN_ALIKE),
    two_ranks("without a distributed sampler", {"use_distributed_sampler": False}),
    two_ranks("samplers of its own", loaders=_own_sampler),
    two_ranks("data in order, drop_last", loaders=_in_order),
    two_ranks("a weighted sampler", loaders=_weighted),
    two_ranks("seed_everything", steps=_seeded),
    two_ranks("overfit 2 batches", {"overfit_batches": 2}),
    two_ranks("limits, validation every 2 batches", {"limit_train_batches": 3, "val_check_interval": 2}),
    two_ranks("accumulate 3, clip norm", {"accumulate_grad_batches": 3, "gradient_clip_val": 0.1}),
    two_ranks("max_steps", {"max_steps": 5, "max_epochs": -1}),
    two_ranks("precision bf16-mixed", {"precision": "bf16-mixed"}),
    two_ranks("unused parameters", {"strategy": "ddp_find_unused_parameters_true"}),
    two_ranks(
        "manual optimisation", methods={"begin": _begin_manual, "training_step": _manual_step}, explained=KEPT_BUFFERS
    ),
    two_ranks("plateau of a reduced metric", methods={**SYNCED, "configure_optimizers": _plateau}),
    two_ranks("OneCycle over estimated_stepping_batches", methods={"configure_optimizers": _one_cycle}),
    two_ranks(
        "EarlyStopping of a reduced metric",
        {"max_epochs": 4},
        methods=SYNCED,
        callbacks=lambda api: [api.callbacks.EarlyStopping("val_loss", patience=0, min_delta=10.0)],
    ),
    two_ranks(
        "EarlyStopping, one rank would stop",
        {"max_epochs": 4},
        methods=_per_rank((3.0, 3.0), (2.0, 4.0), (1.0, 1.0)),
        callbacks=lambda api: [api.callbacks.EarlyStopping("val_loss", patience=1)],
    ),
    two_ranks(
        "ModelCheckpoint of a reduced metric, top 2, last",
        {"max_epochs": 4},
        methods=SYNCED,
        callbacks=lambda api: [api.callbacks.ModelCheckpoint(monitor="val_loss", save_top_k=2, save_last=True)],
    ),
    two_ranks("resumed after an epoch", steps=_resume, explained=RESUMED),
    two_ranks("training_step returns None", methods={"training_step": _none_step}),
    two_ranks("an exception", methods={"on_train_epoch_end": _raises}),
)
